#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""nginx.

Checked without swaps, with one process and with a master and its workers: wrk sees no error of any
kind, and what is fetched is what lies there. With swaps (one process, under load all the time):
wrk goes on and sees nothing but good answers, connections that break apart, and after each
swap a new connection gets every file whole. The same with a master and workers that are killed, of
which the master hears nothing.
"""
import hashlib
import re
import signal
import socket
import subprocess
import time

from software import Software, children, end_inside, main, several, status_field, wait_for

PORT = 8390
CONFIGURATION = """daemon off;
{processes}
error_log {work}/error notice;
pid {work}/nginx.pid;
events {{ worker_connections 512; }}
http {{
    access_log off;
    sendfile {sendfile};
    client_body_temp_path {work}/t1; proxy_temp_path {work}/t2; fastcgi_temp_path {work}/t3;
    uwsgi_temp_path {work}/t4; scgi_temp_path {work}/t5;
    server {{ listen 127.0.0.1:{port}; root {work}/www; }}
}}
"""
SIZES = (0, 1, 612, 4096, 65537, 1 << 20)


class TestNginx(Software):
    programs = ("nginx", "wrk")

    def prepare(self, processes, sendfile="on", **settings):
        text = CONFIGURATION.format(processes=processes, work=self.path("work"), port=PORT,
                                    sendfile=sendfile)
        self.write("work/nginx.conf", text)
        self.sums = {}
        for size in SIZES:
            data = bytes(self.random.randrange(256) for _ in range(min(size, 4096)))
            data = (data * (size // 4096 + 1))[:size]
            self.write(f"work/www/{size}", "")
            with open(self.path(f"work/www/{size}"), "wb") as f:
                f.write(data)
            self.sums[size] = hashlib.sha256(data).hexdigest()
        self.argv = ["/usr/sbin/nginx", "-c", self.path("work/nginx.conf"), "-p",
                     self.path("work")]
        self.launch(self.argv, KillSignal="SIGTERM", **settings)

    def fetch(self, size):
        """One file over a connection of its own; its hash."""
        def connect():
            s = self.tw.socket(socket.AF_INET)
            try:
                s.connect(("127.0.0.1", PORT))
                return s
            except ConnectionRefusedError:
                s.close()
                return None
        with wait_for("nginx", connect) as s:
            s.sendall(b"GET /%d HTTP/1.0\r\n\r\n" % size)
            with s.makefile("rb") as f:
                self.assertIn(b" 200 ", f.readline())
                head = dict(line.split(b": ", 1) for line in
                            iter(lambda: f.readline().rstrip(b"\r\n"), b""))
                data = f.read()
        self.assertEqual(len(data), int(head[b"Content-Length"]))
        return hashlib.sha256(data).hexdigest()

    def fetch_all(self):
        self.assertEqual({size: self.fetch(size) for size in SIZES}, self.sums)

    def wrk(self, seconds):
        return ["wrk", "-t", "1", "-c", "20", "-d", f"{seconds}s", "--timeout", "20s",
                f"http://127.0.0.1:{PORT}/4096"]

    def load(self):
        """wrk for a while; requests a second."""
        r = self.tw.run(*self.wrk(several(2, 10)))
        self.assertEqual((r.returncode, r.stderr), (0, ""))
        self.assertNotIn("errors", r.stdout)
        self.assertNotIn("Non-2xx", r.stdout)
        return float(re.search(r"Requests/sec: +([0-9.]+)", r.stdout)[1])

    def check(self, processes):
        self.prepare(processes)
        process = self.tw.spawn(*self.argv)
        self.fetch_all()
        self.load()
        self.tw.run(*self.argv, "-s", "quit")
        process.wait(30)
        self.begin()
        self.fetch_all()
        self.load()
        self.fetch_all()
        self.assert_checkpoints()
        self.assertEqual(self.m.failovers(), [])

    def test_one_process(self):
        self.check("master_process off;")

    def test_master_and_workers(self):
        self.check("worker_processes 2;")

    def test_swaps(self):
        self.prepare("master_process off;")
        self.begin()
        self.fetch_all()
        wrk = self.tw.spawn(*self.wrk(600), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.open.append(Ending(wrk))
        for _ in range(several(8, 100)):
            self.assertEqual(self.crashes(1), 1)
            self.fetch_all()
            self.assertIsNone(wrk.poll(), "wrk gave up")


    def workers(self):
        """Their pids, as twinit's namespace has them."""
        outer = children(self.tw.outer(self.pid))
        return sorted(int(status_field(p, "NSpid").split()[-1]) for p in outer)

    def test_worker_swaps(self):
        """Workers have twins of their own: the master sees none of their crashes."""
        self.prepare("worker_processes 2;", GuardChildren="yes")
        self.begin()
        self.fetch_all()
        workers = self.workers()
        self.assertEqual(len(workers), 2)
        self.bus.wait("n", "NChildrenGuarded", 2, "Twin")
        wrk = self.tw.spawn(*self.wrk(600), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.open.append(Ending(wrk))
        for i in range(several(8, 100)):
            time.sleep(self.random.uniform(0, 0.2))
            worker = self.random.choice(workers)
            self.tw.kill(worker, signal.SIGSEGV)
            self.bus.wait("n", "NChildFailovers", i + 1, "Twin")
            known = set(children(self.tw.outer(worker)))
            self.fetch_all()
            wait_for("a new twin", lambda w=worker, k=known: any(
                "twin" in (status_field(p, "Name") or "")
                for p in set(children(self.tw.outer(w))) - k))
            self.assertIsNone(wrk.poll(), "wrk gave up")
        self.assertEqual(self.workers(), workers)
        said = self.read("work/error")
        self.assertIn("start worker process", said)
        self.assertNotIn("exited", said)
        self.assertEqual(self.m.failovers(), [])


class Ending:
    """A program inside, to be closed before twinit is stopped."""

    def __init__(self, process):
        self.process = process

    def close(self):
        end_inside(self.process)
        self.process.stdout.close()
        self.process.stderr.close()


if __name__ == "__main__":
    main()
