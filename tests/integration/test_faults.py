#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Awkward nodes and a hostile world: what cannot be guarded is said, what can goes on."""
import fcntl
import os
import signal
import subprocess
import sys

sys.dont_write_bytecode = True
from harness import (NODES, PYTHON, Bus, BusError, Case, Client, Twinit,  # noqa: E402
                     guarded, has_signal, main, script, status_field, unit, wait_for)

THREADS = 300
F_SETPIPE_SZ = 1031


class Faults(Case):
    def counting(self, *options, boot=(), boot_how=None, **settings):
        self.address = f"unix:{self.path('s')}"
        self.boot({"n": guarded(script("counter.py", self.address, *options), **settings)},
                  *boot, **(boot_how or {}))
        self.c, self.m = self.client(self.address), self.monitor()
        self.pid = self.bus.get("n", "MainPID")
        return self.c

    def swapped(self, nth=0, cause="signal"):
        f = self.m.failover("n", nth)
        self.assert_swap(f, self.pid, cause)
        return f

    def twin(self, prop):
        return self.bus.get("n", prop, "Twin")

    def copies(self, words):
        """Processes with such a command line that run: twins and their like stand still."""
        return [pid for pid, command in self.tw.inside().items()
                if words in command and (status_field(pid, "State") or "Z")[0] not in "tZX"]

    def retry_client(self):
        """A new connection that answers."""
        def connect():
            try:
                c = Client(self.tw, self.address)
            except OSError:
                return None
            try:
                c.count()
            except OSError:
                c.close()
                return None
            return c
        c = wait_for("an answer", connect)
        self.open.append(c)
        return c


class Handlers(Faults):
    """A signal with a handler is the node's own business, until the handler dies of it."""

    def start(self, option):
        self.address = f"unix:{self.path('s')}"
        command = script("counter.py", self.address).replace(" -B", f" -B {option}", 1)
        self.boot({"n": guarded(command)})
        self.c, self.m = self.client(self.address), self.monitor()
        self.pid = self.bus.get("n", "MainPID")
        self.assertEqual(self.c.add(4), 4)
        self.bus.checkpoint("n")

    def test_reports_and_dies(self):
        """Python's faulthandler writes where it was, and raises the signal again."""
        self.start("-X faulthandler")
        for nth, sig in enumerate((signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE)):
            self.tw.kill(self.pid, sig)
            self.tw.said("Fatal Python error: ")
            self.swapped(nth)
            self.assertEqual(self.client(self.address).count(), 4)
            self.bus.checkpoint("n")

    def test_lives_on(self):
        """Its handler of SIGHUP counts."""
        self.start("")
        self.tw.kill(self.pid, signal.SIGHUP)
        wait_for("the handler", lambda: self.c.count() == 5)
        self.assertEqual(self.m.failovers("n"), [])
        self.assertEqual(self.bus.get("n", "MainPID"), self.pid)


class NoPtrace(Faults):
    WRAPPER = (PYTHON, "-B", f"{NODES}/no_ptrace.py")

    def test_not_permitted(self):
        """Said clearly, on the log and the bus; supervised without a twin; cold restart."""
        c = self.counting(boot_how={"wrapper": self.WRAPPER})
        self.tw.said(r"<3>.* n: cannot trace: Operation not permitted; supervised without a twin")
        self.assertEqual(self.bus.get("n", "ActiveState"), "active")
        self.bus.wait("n", "State", "failed", "Twin")
        self.assertEqual(self.twin("SkipReason"), "cannot trace: Operation not permitted")
        self.assertEqual(self.twin("PIDs"), [])
        with self.assertRaisesRegex(BusError, "(?i)permitted|cannot trace|permission"):
            self.bus.call("CheckpointNode", "s", "n")
        self.assertEqual(self.tw.run("twinctl", "twin", "status", "n").returncode, 3)
        self.assertEqual(c.add(), 1)
        self.tw.kill(self.pid, signal.SIGSEGV)
        f = self.m.failover("n")
        self.assertEqual((f["cause"], f["result"], f["old_pid"]),
                         ("signal", "cold-restart", self.pid))
        self.assertNotEqual(f["new_pid"], self.pid)
        self.assertEqual(self.retry_client().count(), 0)
        self.assertEqual(self.bus.get("n", "NRestarts"), 1)

    def test_twinctl_says_why(self):
        self.counting(boot_how={"wrapper": self.WRAPPER})
        self.bus.wait("n", "State", "failed", "Twin")
        self.assertIn("cannot trace: Operation not permitted",
                      self.tw.run("twinctl", "twin", "status", "n").stdout)

    def test_ends_are_still_seen(self):
        """Exit status, signals and stops need no tracer."""
        self.counting("--notify", Type="notify", Restart="no",
                      boot_how={"wrapper": self.WRAPPER})
        self.c.send("exit 3")
        self.wait_state("n", "failed")
        self.assertEqual(self.bus.get("n", "ExecMainStatus"), 3)
        self.assertEqual(self.bus.get("n", "Result"), "exit-code")
        self.tw.run("twinctl", "start", "n")
        self.assertEqual(self.tw.run("twinctl", "stop", "n").returncode, 0)
        self.assertEqual(self.bus.get("n", "ActiveState"), "inactive")

    def test_without_the_capability(self):
        """No CAP_SYS_PTRACE, and a node of another user: the swap works, or it says why not."""
        os.chmod(self.scratch, 0o777)
        self.counting(User="nobody", boot_how={
            "wrapper": ("setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace")})
        self.assertEqual(int(status_field(self.tw.pid, "CapEff"), 16) >> 19 & 1, 0)
        self.assertEqual(status_field(self.tw.outer(self.pid), "Uid").split()[0], "65534")
        try:
            self.bus.checkpoint("n")
        except BusError as e:
            self.assertRegex(str(e), "(?i)permi")
            self.assertRegex(self.twin("SkipReason"), "(?i)permi")
        self.tw.kill(self.pid, signal.SIGSEGV)
        f = self.m.failover("n")
        self.assertIn(f["result"], ("success", "cold-restart"))
        self.assertEqual(f["result"] == "success", f["new_pid"] == self.pid)
        self.wait_state("n", "active")
        self.assertGreaterEqual(self.retry_client().add(), 1)


class Awkward(Faults):
    def test_forks_children_in_a_loop(self):
        c = self.counting("--children")
        for n in range(3):
            self.wait_children(c, 5)
            c.add()
            self.bus.checkpoint("n")
            self.tw.kill(self.pid, signal.SIGSEGV)
            self.swapped(n)
            self.assertEqual(c.count(), n + 1)
        self.wait_children(c, 5)
        self.assertEqual(self.tw.run("twinctl", "stop", "n").returncode, 0)
        wait_for("no children", lambda: not self.copies("sleep 0.01"))

    def wait_children(self, c, more):
        """It goes on having children, and noticing their ends."""
        had = int(c.ask("children"))
        wait_for("children", lambda: int(c.ask("children")) >= had + more)

    def test_shell_with_children_in_the_background(self):
        self.write("n.sh", "sleep 4711 & sleep 4711 &\ni=0\nwhile :; do i=$((i + 1)); "
                   f"echo $i >>{self.path('out')}; sleep 0.02; done\n")
        self.boot({"n": guarded(f"/bin/sh {self.path('n.sh')}")})
        self.m = self.monitor()
        for n in range(3):
            self.grows(5)
            self.bus.checkpoint("n")
            self.pid = self.crash("n", (signal.SIGSEGV, signal.SIGKILL)[n % 2])
            self.swapped(n)
        self.grows(5)
        self.assertEqual(len(self.copies("sleep 4711")), 2, "children were lost, or are new")
        self.assertEqual(self.tw.run("twinctl", "stop", "n").returncode, 0)
        wait_for("its children's end", lambda: not self.copies("sleep"))

    def grows(self, lines):
        def count():
            try:
                return len(self.read("out").splitlines())
            except FileNotFoundError:
                return 0
        had = count()
        wait_for("progress", lambda: count() >= had + lines)

    def test_statically_linked(self):
        program = self.path("static")
        subprocess.run(["gcc", "-static", "-O2", "-o", program, f"{NODES}/static.c"], check=True)
        os.mkfifo(self.path("in"))
        self.boot({"n": guarded(f"{program} {self.path('in')} {self.path('out')}")})
        self.m = self.monitor()
        for n in range(3):
            self.feed(2 * n + 1)
            self.bus.checkpoint("n")
            self.pid = self.crash("n")
            self.swapped(n)
            self.feed(2 * n + 2)
        self.assertEqual(self.tw.proc(self.pid, "comm"), "static\n")

    def feed(self, count):
        with open(self.path("in"), "w", encoding="ascii") as f:
            f.write("line\n")
        wait_for(f"count {count}", lambda: os.path.exists(self.path("out")) and
                 self.read("out").splitlines()[-1:] == [str(count)])

    def test_300_threads(self):
        c = self.counting(f"--threads={THREADS - 1}")
        tids = self.tw.tids(self.pid)
        self.assertEqual(len(tids), THREADS)
        for n in range(2):
            c.add()
            self.bus.checkpoint("n")
            self.assertEqual(self.twin("NThreads"), THREADS)
            self.tw.kill(self.pid, signal.SIGSEGV)
            self.swapped(n)
            self.assertEqual(self.tw.tids(self.pid), tids)
            self.assertEqual(c.count(), n + 1)
            self.assertEqual(c.tids(), tids)

    def test_executes_itself(self):
        """Its twins are of another program now: dropped, and armed anew."""
        c = self.counting(Interval="100ms")
        c.add(5)
        self.bus.checkpoint("n")
        mark = self.tw.mark()
        c.send("exec")
        self.tw.said(rf" n: process {self.pid} executed another program", mark)
        made = self.twin("NCheckpoints")
        c = self.retry_client()
        self.assertEqual(int(c.ask("pid")), self.pid)
        self.assertEqual(c.add(), 1)
        self.bus.wait("n", "NCheckpoints", lambda n: n > made, "Twin")
        self.bus.checkpoint("n")
        self.tw.kill(self.pid, signal.SIGSEGV)
        self.swapped()
        self.assertEqual(c.count(), 1)

    def test_crashes_between_exec_and_the_next_twin(self):
        """The twin of the old program must not come back."""
        c = self.counting()
        c.add(5)
        self.bus.checkpoint("n")
        c.send("exec")
        self.tw.said(" n: process .* executed another program")
        self.assertEqual(self.twin("PIDs"), [])
        self.tw.kill(self.pid, signal.SIGSEGV)
        self.assertEqual(self.m.failover("n")["result"], "cold-restart")
        self.assertEqual(self.retry_client().count(), 0)


class Stopped(Faults):
    def stop(self):
        self.tw.kill(self.pid, signal.SIGSTOP)
        self.tw.said(" n: stopped by SIGSTOP")

    def go_on(self):
        mark = self.tw.mark()
        self.tw.kill(self.pid, signal.SIGCONT)
        self.tw.said(" n: continued", mark)

    def test_is_left_alone(self):
        c = self.counting(Interval="50ms")
        c.add(3)
        self.bus.wait("n", "State", "armed", "Twin")
        self.stop()
        skipped = self.twin("NSkipped")
        self.bus.wait("n", "NSkipped", lambda n: n > skipped + 3, "Twin")
        self.assertEqual(self.twin("SkipReason"), "stopped by SIGSTOP")
        self.assertIn("stopped by SIGSTOP", self.tw.run("twinctl", "twin", "status", "n").stdout)
        with self.assertRaisesRegex(BusError, "stopped by SIGSTOP|busy|Busy"):
            self.bus.call("CheckpointNode", "s", "n")
        c.send("add")
        self.assertIn(status_field(self.tw.outer(self.pid), "State")[0], "Tt")
        self.assertEqual(self.m.failovers(), [])
        self.assertEqual(self.bus.get("n", "ActiveState"), "active")
        made = self.twin("NCheckpoints")
        self.go_on()
        self.assertEqual(c.file.readline(), "4\n")
        self.bus.wait("n", "NCheckpoints", lambda n: n > made, "Twin")
        self.bus.checkpoint("n")
        self.tw.kill(self.pid, signal.SIGSEGV)
        self.swapped()
        self.assertEqual(c.count(), 4)

    def test_is_killed_while_stopped(self):
        """The twin is of before the stop, and so runs."""
        c = self.counting()
        c.add(2)
        self.bus.checkpoint("n")
        self.stop()
        self.tw.kill(self.pid, signal.SIGKILL)
        self.swapped()
        self.assertEqual(c.count(), 2)


class KeeperKilled(Faults):
    def check(self, **settings):
        self.counting("--notify", Interval="50ms", **settings)
        self.bus.wait("n", "State", "armed", "Twin")
        twins = [p for p in self.tw.inside() if "counter.py" in self.tw.inside().get(p, "")]
        keeper = self.bus.get("n", "KeeperPID")
        old = self.tw.outer(self.pid)
        wait_for("one node", lambda: self.copies("counter.py") == [old])
        self.tw.kill(keeper, signal.SIGKILL)
        return twins, keeper

    def gone(self, twins):
        wait_for("the end of the old node and its twins",
                 lambda: not set(twins) & set(self.tw.inside()))

    def test_comes_back(self):
        twins, keeper = self.check()
        f = wait_for("a new process", lambda: self.bus.get("n", "MainPID") not in (0, self.pid))
        self.assertTrue(f)
        self.wait_state("n", "active")
        self.gone(twins)
        wait_for("one node", lambda: len(self.copies("counter.py")) == 1)
        self.assertNotEqual(self.bus.get("n", "KeeperPID"), keeper)
        self.tw.said(rf"<3>.* n: killing {self.pid}, which has no keeper any more")
        self.assertEqual(self.retry_client().count(), 0)
        # And is guarded again.
        self.c = self.retry_client()
        self.c.add()
        self.pid = self.bus.get("n", "MainPID")
        self.bus.checkpoint("n")
        self.tw.kill(self.pid, signal.SIGSEGV)
        self.swapped()
        self.assertEqual(self.c.count(), 1)

    def test_never_two_at_a_time(self):
        """The new one is not started before the old one has ended."""
        lock = self.write("lock", "")
        self.write("n.sh", f"exec 9<{lock}\nflock -n 9 || {{ echo TWO OF THEM; exit 9; }}\n"
                   "echo one of them\nexec sleep infinity\n")
        self.boot({"n": guarded(f"/bin/sh {self.path('n.sh')}", Interval="50ms",
                                StartLimitIntervalSec="0")})
        for n in range(4):
            wait_for("the node", lambda n=n: len(self.tw.has_said("^one of them$")) == n + 1)
            self.wait_state("n", "active")
            self.tw.kill(self.bus.get("n", "KeeperPID"), signal.SIGKILL)
        wait_for("the node", lambda: len(self.tw.has_said("^one of them$")) == 5)
        self.assertFalse(self.tw.has_said("TWO OF THEM"))

    def test_stays_down_with_restart_no(self):
        twins, _ = self.check(Restart="no")
        self.wait_state("n", "failed")
        self.gone(twins)
        self.assertEqual(self.copies("counter.py"), [])
        self.assertIn("keeper", self.bus.get("n", "ResultDetail"))
        self.assertIn("KILL", self.bus.get("n", "ResultDetail"))

    def test_its_children_go_too(self):
        self.boot({"n": guarded("/bin/sh -c \"sleep 4711 & wait\"", Restart="no")})
        wait_for("a child", lambda: self.copies("sleep 4711"))
        self.tw.kill(self.bus.get("n", "KeeperPID"), signal.SIGKILL)
        self.wait_state("n", "failed")
        self.tw.said(" n: killing")
        wait_for("its child's end", lambda: not self.copies("sleep 4711"), limit=3)

    def test_on_the_way_down(self):
        """Killed while it stops its node: nothing is left."""
        self.boot({"n": guarded("/bin/sh -c \"trap '' TERM; while :; do sleep 1000; done\"")})
        pid = self.bus.get("n", "MainPID")
        wait_for("the trap", lambda: has_signal(self.tw.outer(pid), "SigIgn", signal.SIGTERM))
        self.bus.call("StopNode", "ss", "n", "replace")
        self.bus.wait("n", "ActiveState", "deactivating")
        self.tw.kill(self.bus.get("n", "KeeperPID"), signal.SIGKILL)
        self.wait_state("n", "failed")
        wait_for("its end", lambda: not self.copies("sleep 1000"), limit=3)

    def test_too_often(self):
        self.boot({"n": guarded("/bin/sleep infinity", StartLimitBurst="2",
                                StartLimitIntervalSec="1h")})
        for _ in range(3):
            self.wait_state("n", "active")
            keeper = self.bus.get("n", "KeeperPID")
            self.tw.kill(keeper, signal.SIGKILL)
            wait_for("its end", lambda k=keeper: self.bus.get("n", "KeeperPID") != k)
        self.wait_state("n", "failed")
        self.assertEqual(self.bus.get("n", "Result"), "start-limit-hit")


class World(Faults):
    def test_keeper_is_not_there(self):
        self.boot({"dbus": unit(self.dbus_command())}, "--keeper=/nonexistent/keeper", bus=None)
        self.tw.said("<3>.*keeper /nonexistent/keeper: No such file")
        self.tw.said("<3>.*cannot execute /nonexistent/keeper")
        self.tw.said("<3>.* dbus: failed: .*keeper")
        self.assertIsNone(self.tw.process.poll())

    def test_nobody_reads_the_log(self):
        """A full pipe behind stderr: lines are dropped, nothing waits."""
        r, w = os.pipe()
        fcntl.fcntl(r, F_SETPIPE_SZ, 4096)
        self.write("units/dbus.ini", unit(self.dbus_command(), StandardOutput="null"))
        for n in range(20):
            self.write(f"units/u{n}.ini", unit("/bin/true", StandardOutput="null"))
        self.tw = Twinit(self.scratch, ("--log-level=debug",), stderr=w)
        os.close(w)
        self.bus = Bus(self.tw)
        wait_for("the bus", self.bus.is_joined)
        for n in range(20):
            self.bus.wait(f"u{n}", "ActiveState", "inactive")
            self.assertEqual(self.tw.run("twinctl", "start", f"u{n}").returncode, 0)
        self.assertEqual(self.bus.get("u0", "Result"), "success")
        self.assertEqual(self.tw.stop(), 0)
        os.close(r)

    def test_sixty_nodes(self):
        units = {f"u{n}": guarded("/bin/sleep infinity", Interval="500ms") for n in range(60)}
        self.boot(units)
        self.bus.wait_manager("NTwinsArmed", 60)
        self.m = self.monitor()
        for n in range(0, 60, 6):
            self.crash(f"u{n}")
        for n in range(0, 60, 6):
            f = self.m.failover(f"u{n}")
            self.assertEqual(f["result"], "success")
        self.assertEqual(self.bus.manager("NFailedNodes"), 0)


if __name__ == "__main__":
    main()
