#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a unit says about how its program is run is really in force: as /proc tells it."""
import os
import pwd
import subprocess
import sys

sys.dont_write_bytecode = True
from harness import (PYTHON, Case, guarded, main, script, status_field,  # noqa: E402
                     unit, wait_for)

NOBODY = pwd.getpwnam("nobody")


class Settings(Case):
    def address(self):
        return f"unix:{self.path('open/s')}"

    def counter(self, make=unit, **settings):
        os.makedirs(self.path("open"), mode=0o777, exist_ok=True)
        os.chmod(self.path("open"), 0o777)
        return make(script("counter.py", self.address()), **settings)

    def start(self, **settings):
        """A node with these settings; its pid here."""
        self.boot({"n": self.counter(**settings)}, bus=False)
        self.inner = self.main_pid("n")
        self.running("n")
        return self.tw.outer(self.inner)

    def status(self, name):
        return status_field(self.tw.outer(self.inner), name)

    def limits(self):
        text = self.tw.proc(self.inner, "limits")
        return {line[:26].strip(): tuple(line[26:].split()[:2]) for line in text.splitlines()}

    def test_defaults(self):
        pid = self.start()
        self.client(self.address()).ask("get")  # it opens and closes files until it listens
        self.assertEqual(self.status("Uid").split(), ["0"] * 4)
        self.assertEqual(os.readlink(f"/proc/{pid}/cwd"), "/")
        self.assertEqual(os.readlink(f"/proc/{pid}/fd/0"), "/dev/null")
        stat = self.tw.proc(self.inner, "stat").rsplit(")", 1)[1].split()
        self.assertEqual(stat[38], "0", "scheduling policy is not SCHED_OTHER")
        self.assertEqual(self.status("SigBlk"), "0" * 16)
        self.assertEqual(self.tw.proc(self.inner, "oom_score_adj").strip(), "0")
        for f in os.listdir(f"/proc/{pid}/fd"):
            target = os.readlink(f"/proc/{pid}/fd/{f}")
            self.assertTrue(int(f) < 3 or "memfd" not in target, f"leaked: {f} {target}")

    def test_user_nobody(self):
        self.start(User="nobody")
        self.assertEqual(self.status("Uid").split(), [str(NOBODY.pw_uid)] * 4)
        self.assertEqual(self.status("Gid").split(), [str(NOBODY.pw_gid)] * 4)
        c = self.client(self.address())
        self.assertEqual(c.ask("env USER"), "nobody")
        self.assertEqual(c.ask("env HOME"), NOBODY.pw_dir)

    def test_user_by_number_and_group(self):
        self.start(User=str(NOBODY.pw_uid), Group="daemon")
        self.assertEqual(self.status("Uid").split()[0], str(NOBODY.pw_uid))
        self.assertEqual(self.status("Gid").split(), ["1"] * 4)

    def test_user_nobody_is_swapped(self):
        self.boot({"n": self.counter(guarded, User="nobody", Nice="5")})
        c, m = self.client(self.address()), self.monitor()
        c.add(2)
        self.bus.checkpoint("n")
        self.inner = self.crash("n")
        self.assert_swap(m.failover("n"), self.inner, "signal")
        self.assertEqual(c.add(), 3)
        self.assertEqual(self.status("Uid").split(), [str(NOBODY.pw_uid)] * 4)
        self.assertEqual(os.getpriority(os.PRIO_PROCESS, self.tw.outer(self.inner)), 5)

    def test_working_directory(self):
        os.mkdir(self.path("home"))
        pid = self.start(WorkingDirectory=self.path("home"))
        self.assertEqual(os.readlink(f"/proc/{pid}/cwd"), self.path("home"))

    def test_nice_affinity_oom(self):
        pid = self.start(Nice="7", CPUAffinity="0", OOMScoreAdjust="123")
        self.assertEqual(os.getpriority(os.PRIO_PROCESS, pid), 7)
        self.assertEqual(os.sched_getaffinity(pid), {0})
        self.assertEqual(self.tw.proc(self.inner, "oom_score_adj").strip(), "123")

    def test_limits(self):
        self.start(LimitNOFILE="100:200", LimitCORE="1M")
        limits = self.limits()
        self.assertEqual(limits["Max open files"], ("100", "200"))
        self.assertEqual(limits["Max core file size"], ("1048576", "1048576"))

    def test_limit_infinity(self):
        self.start(LimitCORE="infinity")
        self.assertEqual(self.limits()["Max core file size"], ("unlimited", "unlimited"))

    def test_environment(self):
        self.write("env", "# a comment\nFROM_FILE=\"two words\"\nBOTH=file\n")
        self.start(Environment=["A=1 'B=two words'", "BOTH=unit", "SPEC=%i-%n-%%"],
                   EnvironmentFile=[self.path("env"), "-/nonexistent/env"])
        c = self.client(self.address())
        for name, value in {"A": "1", "B": "two words", "FROM_FILE": "two words",
                            "BOTH": "file", "SPEC": "n-n.ini-%"}.items():
            self.assertEqual(c.ask(f"env {name}"), value, name)


class Output(Case):
    def start(self, setting, text="printf 'new\\n'; echo oops >&2"):
        self.boot({"n": unit(f"/bin/sh -c \"{text}; exec sleep infinity\"",
                             StandardOutput=setting)}, bus=False)
        pid = self.main_pid("n")
        wait_for("exec", lambda: self.tw.proc(pid, "comm").strip() == "sleep")
        return self.tw.outer(pid)

    def test_file(self):
        self.write("out", "0123456789ABC\n")
        self.start(f"file:{self.path('out')}")
        # As systemd: written from the beginning, not truncated.
        self.assertEqual(self.read("out"), "new\noops\n9ABC\n")
        self.assertFalse(self.tw.has_said("^oops"), "stderr follows stdout")

    def test_append(self):
        self.write("out", "old\n")
        self.start(f"append:{self.path('out')}")
        self.assertEqual(self.read("out"), "old\nnew\noops\n")

    def test_null(self):
        pid = self.start("null")
        for fd in (1, 2):
            self.assertEqual(os.readlink(f"/proc/{pid}/fd/{fd}"), "/dev/null")
        self.assertFalse(self.tw.has_said("^(new|oops)$"))

    def test_inherit(self):
        self.start("inherit")
        self.tw.said("^new$")
        self.tw.said("^oops$")

    def test_journal_without_a_journal(self):
        self.start("journal")
        self.tw.said("^new$")

    def test_full_disk(self):
        """Lines are lost, the node is not: with its twin and after its swap as well."""
        small = self.path("small")
        os.mkdir(small)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", small], check=True)
        self.addCleanup(subprocess.run, ["umount", small], check=True)
        self.boot({"n": guarded(script("filler.py", self.path("s")),
                                StandardOutput=f"file:{small}/out")})
        c, m = self.client(f"unix:{self.path('s')}"), self.monitor()
        wait_for("a full disk", lambda: c.ask("write") == "ENOSPC")
        self.bus.checkpoint("n")
        pid = self.crash("n")
        self.assert_swap(m.failover("n"), pid, "signal")
        self.assertEqual(c.ask("write"), "ENOSPC")
        self.assertEqual(self.bus.get("n", "ActiveState"), "active")


class Pre(Case):
    def test_fails(self):
        self.boot({"n": unit("/bin/sleep infinity", ExecStartPre=["/bin/true", "/bin/false"]),
                   "good": unit("/bin/sleep infinity")})
        self.wait_state("n", "failed")
        self.assertEqual(self.bus.get("n", "Result"), "exit-code")
        self.assertIn("/bin/false", self.bus.get("n", "ResultDetail"))
        self.assertEqual(self.bus.get("n", "ExecMainStatus"), 1)
        self.assertEqual(self.bus.get("n", "MainPID"), 0)
        self.wait_state("good", "active")

    def test_fails_and_is_ignored(self):
        self.boot({"n": unit("/bin/sleep infinity",
                             ExecStartPre=["-/bin/false", "-/nonexistent", "/bin/true"])})
        self.wait_state("n", "active")

    def test_in_order_and_as_the_user(self):
        self.write("out", "", 0o666)
        out = self.path("out")
        self.boot({"n": unit(f"/bin/sh -c \"echo main >>{out}; exec sleep infinity\"",
                             User="nobody", ExecStartPre=[
                                 f"/bin/sh -c 'echo one >>{out}; id -un >>{out}'",
                                 f"/bin/sh -c 'echo two >>{out}'"])}, bus=False)
        wait_for("the node", lambda: self.read("out").endswith("main\n"))
        self.assertEqual(self.read("out").split(), ["one", "nobody", "two", "main"])

    def test_takes_too_long(self):
        self.boot({"n": unit("/bin/sleep infinity", ExecStartPre="/bin/sleep infinity",
                             TimeoutStartSec="300ms")})
        self.wait_state("n", "failed")
        self.assertEqual(self.bus.get("n", "Result"), "timeout")


class Notify(Case):
    def test_up_only_when_it_says_so(self):
        address = f"unix:{self.path('s')}"
        os.mkfifo(self.path("gate"))
        self.boot({"n": unit(script("counter.py", address, "--notify",
                                    f"--gate={self.path('gate')}"), Type="notify")})
        self.main_pid("n")
        self.assertEqual(self.bus.get("n", "SubState"), "start")
        self.assertEqual(self.bus.get("n", "ActiveState"), "activating")
        with open(self.path("gate"), "w", encoding="ascii") as f:
            f.write("go\n")
        self.wait_state("n", "active")
        self.bus.wait("n", "StatusText", f"listening on {address}")

    def test_by_systemd_notify(self):
        self.boot({"n": unit("/bin/sh -c \"systemd-notify --ready --status=up; "
                             "exec sleep infinity\"", Type="notify")})
        self.wait_state("n", "active")
        self.bus.wait("n", "StatusText", "up")

    def test_ends_before_it_is_ready(self):
        self.boot({"n": unit("/bin/true", Type="notify")})
        self.wait_state("n", "failed")
        self.assertEqual(self.bus.get("n", "Result"), "protocol")

    def test_strangers_are_not_heard(self):
        """READY=1 of a process of another user, and of one of root's that is not the node's."""
        address = f"unix:{self.path('s')}"
        self.boot({"n": unit(script("counter.py", address), Type="notify")}, "--log-level=debug")
        self.main_pid("n")
        say = ("import socket, sys; socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto("
               "sys.argv[1].encode(), '/run/twinit/notify/n.sock'); sys.stdin.read()")
        # They stay until they have been judged: who has gone is judged by his user alone.
        for user in (NOBODY.pw_uid, None):
            since = self.tw.mark()
            p = self.tw.spawn(PYTHON, "-c", say, "READY=1", user=user, stdin=subprocess.PIPE)
            self.tw.said("notification of process [0-9]+ refused", since)
            p.stdin.close()
            self.assertEqual(p.wait(), 0)
        # Messages stay in order: when this one is there, the others have been judged.
        self.client(address).ask("notify STATUS=by the node")
        self.bus.wait("n", "StatusText", "by the node")
        self.assertEqual(self.bus.get("n", "ActiveState"), "activating")

    def test_no_watchdog_pid_and_the_interval(self):
        address = f"unix:{self.path('s')}"
        self.boot({"n": unit(script("counter.py", address, "--notify", "--watchdog"),
                             Type="notify", WatchdogSec="5s")})
        c = self.client(address)
        self.assertEqual(c.ask("env WATCHDOG_USEC"), "5000000")
        self.assertEqual(c.ask("env WATCHDOG_PID"), "")
        self.assertEqual(self.bus.get("n", "WatchdogUSec"), 5000000)


if __name__ == "__main__":
    main()
