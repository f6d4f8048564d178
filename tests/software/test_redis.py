#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""redis-server.

Checked without swaps: redis-benchmark ends well, sequences of INCR and pipelines and transactions
have the values they must, and a save in a forked child ends well and can be loaded.
Checked with swaps: all that was acknowledged before the checkpoint is there for a client that
connects again, nothing is there that was never sent, and what was written in one transaction is
there wholly or not at all.
"""
import collections
import socket
import time

from software import Software, main, several, wait_for

PORT = 6390
SERVER = ("/usr/bin/redis-server", "--port", str(PORT), "--bind", "127.0.0.1", "--save", "''",
          "--daemonize", "no")


class Redis:
    """One connection."""

    def __init__(self, tw):
        self.sock = tw.socket(socket.AF_INET)
        try:
            self.sock.connect(("127.0.0.1", PORT))
        except OSError:
            self.sock.close()
            raise
        self.file = self.sock.makefile("rb")

    def send(self, *words):
        parts = [b"*%d\r\n" % len(words)]
        for w in words:
            b = str(w).encode()
            parts.append(b"$%d\r\n%s\r\n" % (len(b), b))
        self.sock.sendall(b"".join(parts))

    def answer(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionResetError("the end of the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise AssertionError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"+":
            return rest.decode()
        n = int(rest)
        if n < 0:
            return None
        if kind == b"*":
            return [self.answer() for _ in range(n)]
        data = self.file.read(n + 2)
        if len(data) != n + 2:
            raise ConnectionResetError("the end of the connection")
        return data[:-2].decode()

    def ask(self, *words):
        self.send(*words)
        return self.answer()

    def close(self):
        self.file.close()
        self.sock.close()


class TestRedis(Software):
    programs = ("redis-server", "redis-benchmark")

    def redis(self):
        def connect():
            try:
                return Redis(self.tw)
            except ConnectionRefusedError:
                return None
        r = wait_for("redis", connect)
        self.open.append(r)
        return r

    def benchmark(self):
        r = self.tw.run("redis-benchmark", "-p", str(PORT), "-n", str(several(20000, 200000)),
                        "-c", "20", "-P", "16", "--csv", "-t", "set,get,incr,lpush,zadd,mset",
                        limit=300)
        self.assertEqual((r.returncode, r.stderr), (0, ""))
        # One line of figures a test, and a head.
        self.assertGreaterEqual(len(r.stdout.splitlines()), 7, r.stdout)

    def check_sequences(self, r):
        n = several(2000, 20000)
        for i in range(1, n + 1):
            self.assertEqual(r.ask("INCR", "sequence"), i)
        for at in range(0, n, 500):
            for i in range(at, at + 500):
                r.send("SET", f"key:{i}", f"value {i}")
            self.assertEqual({r.answer() for _ in range(500)}, {"OK"})
        for i in range(0, n):
            r.send("GET", f"key:{i}")
            if i % 500 == 499:
                self.assertEqual([r.answer() for _ in range(500)],
                                 [f"value {k}" for k in range(i - 499, i + 1)])

    def check_save(self, r):
        """A child of it writes all it has to a file, which is then read in again."""
        digest = r.ask("DEBUG", "DIGEST")
        r.ask("BGSAVE")
        wait_for("the save", lambda: "rdb_bgsave_in_progress:0" in r.ask("INFO", "persistence"))
        self.assertIn("rdb_last_bgsave_status:ok", r.ask("INFO", "persistence"))
        r.ask("DEBUG", "RELOAD", "NOSAVE")
        self.assertEqual(r.ask("DEBUG", "DIGEST"), digest)

    def all_checks(self):
        r = self.redis()
        self.check_sequences(r)
        self.benchmark()
        self.check_sequences_again(r)
        self.check_save(r)

    def check_sequences_again(self, r):
        self.assertEqual(r.ask("GET", "sequence"), str(several(2000, 20000)))

    def test_results(self):
        argv = (*SERVER, "--enable-debug-command", "yes")
        self.launch(argv)
        process = self.tw.spawn("env", "-C", self.path("work"), *[a.strip("'") for a in argv])
        self.all_checks()
        self.redis().send("SHUTDOWN", "NOSAVE")
        process.wait(30)
        self.tw.run("rm", "-f", self.path("work/dump.rdb"))
        self.begin()
        self.all_checks()
        self.assert_checkpoints()
        self.assertEqual(self.m.failovers(), [])
        self.assertEqual(self.bus.get(self.NODE, "MainPID"), self.pid)

    # --- with swaps --------------------------------------------------------------------------

    def transactions(self, r, at, until, acknowledged):
        """One after the other in pipelines of 16: the i-th adds i to a list, a sorted set and a
        sum. Each is noted when it was acknowledged; how many were sent."""
        sent = at
        while time.monotonic() < until:
            for i in range(sent + 1, sent + 17):
                r.send("MULTI")
                r.send("RPUSH", "list", i)
                r.send("ZADD", "set", i, f"member {i}")
                r.send("INCRBY", "sum", i)
                r.send("EXEC")
            sent += 16
            for i in range(sent - 15, sent + 1):
                answers = [r.answer() for _ in range(5)]
                self.assertEqual(answers[-1], [i, 1, i * (i + 1) // 2])
                acknowledged.append((i, time.monotonic()))
        return sent

    def found(self, r):
        """How many transactions are there, each of them wholly."""
        r.send("MULTI")
        r.send("LRANGE", "list", 0, -1)
        r.send("ZRANGE", "set", 0, -1)
        r.send("GET", "sum")
        r.send("EXEC")
        members, ranked, total = [r.answer() for _ in range(5)][-1]
        n = len(members)
        self.assertEqual(members, [str(i) for i in range(1, n + 1)])
        self.assertEqual(ranked, [f"member {i}" for i in range(1, n + 1)])
        self.assertEqual(int(total or 0), n * (n + 1) // 2)
        return n

    def test_swaps(self):
        self.launch(SERVER)
        self.begin()
        acknowledged, at = collections.deque([(0, 0.0)]), 0
        for _ in range(several(8, 100)):
            r = self.redis()
            at = self.found(r)
            while acknowledged[-1][0] > at:
                acknowledged.pop()
            self.assertTrue(self.new_twin())
            until = time.monotonic() + self.random.uniform(0.02, 0.3)
            sent = self.transactions(r, at, until, acknowledged)
            failover = self.crash_once()
            self.assertIsNotNone(failover)
            # The twin is as old as that, reckoned from the end, which came after the kill.
            taken = self.killed_at - failover["rollback_usec"] / 1e6
            due = max(i for i, when in acknowledged if when <= taken)
            r.close()
            self.open.remove(r)
            r = self.redis()
            found = self.found(r)
            self.assertLessEqual(due, found, "acknowledged before the checkpoint, and lost")
            self.assertLessEqual(found, sent, "there, and never sent")
            r.close()
            self.open.remove(r)
        self.benchmark()


if __name__ == "__main__":
    main()
