#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""[Twin] Identity=namespace: the node keeps its own numbers; all others see a new pid, and are told."""
import contextlib
import os
import signal
import sys
import time

sys.dont_write_bytecode = True
from harness import (Case, guarded, main, script, wait_for)  # noqa: E402

IN_A_ROW = 5
WATCHDOG_SECONDS = 1


def field(tw, pid, name):
    """Of /proc/PID/status, as this process sees it."""
    with open(f"/proc/{tw.outer(pid)}/status", encoding="utf-8") as f:
        return next(line.split(":", 1)[1].strip() for line in f if line.startswith(name + ":"))


def inhabitants(space):
    """The names of all that live in a pid namespace."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/comm", encoding="utf-8") as f:
                name = f.read().strip()
            if os.readlink(f"/proc/{pid}/ns/pid") == space:
                found.append(name)
    return found


class Inside(Case):
    def counting(self, *options, **settings):
        self.address = f"unix:{self.path('s')}"
        if "User" in settings:
            os.chmod(self.scratch, 0o777)
        self.boot({"n": guarded(script("counter.py", self.address, *options),
                                Identity="namespace", **settings)})
        self.c, self.m = self.client(self.address), self.monitor()
        self.running("n")
        self.own = int(self.c.ask("pid"))
        return self.c

    def numbers(self):
        """The main process' pids, from the outermost namespace to its own."""
        return [int(n) for n in field(self.tw, self.bus.get("n", "MainPID"), "NSpid").split()]

    def fall(self, crash, cause, nth=0):
        """Crash; the twin has the node's own number, and another one on the bus, which is true."""
        before = self.bus.get("n", "MainPID")
        crash(before)
        f = self.m.failover("n", nth)
        self.assertEqual((f["cause"], f["result"]), (cause, "success"), f)
        self.assertEqual(f["old_pid"], before)
        self.assertNotEqual(f["new_pid"], before)
        self.bus.wait("n", "MainPID", f["new_pid"])
        self.assertEqual(self.numbers()[-1], self.own)
        self.assertEqual(int(self.c.ask("pid")), self.own)
        return f

    def kill(self, sig):
        return lambda pid: self.tw.kill(pid, sig)

    def check(self, crash, cause, **settings):
        c = self.counting("--threads=3", **settings)
        tids = c.tids()
        self.assertEqual(c.add(5), 5)
        self.bus.checkpoint("n")
        self.assertEqual(c.add(2), 7)
        self.fall(crash, cause)
        self.assertEqual(c.count(), 5)
        self.assertEqual(c.tids(), tids)
        self.assertEqual(self.client(self.address).add(), 6)

    def test_sigsegv(self):
        self.check(self.kill(signal.SIGSEGV), "signal")

    def test_sigkill(self):
        self.check(self.kill(signal.SIGKILL), "signal")

    def test_exit_3(self):
        self.check(lambda _pid: self.c.send("exit 3"), "exit-code")

    def test_user(self):
        self.check(self.kill(signal.SIGSEGV), "signal", User="nobody")
        pid = self.bus.get("n", "MainPID")
        for name in ("CapPrm", "CapEff", "CapInh", "CapAmb"):
            self.assertEqual(int(field(self.tw, pid, name), 16), 0, name)

    def test_in_a_row(self):
        c = self.counting("--threads=3")
        for i in range(IN_A_ROW):
            self.assertEqual(c.add(), i + 1)
            self.bus.checkpoint("n")
            self.tw.run("twinctl", "failover", "n")
            f = self.m.failover("n", i)
            self.assertEqual((f["cause"], f["result"]), ("requested", "success"), f)
            self.assertEqual(int(c.ask("pid")), self.own)
            self.assertEqual(self.numbers()[-1], self.own)

    def test_flat(self):
        """Namespaces lie beside each other, not in each other."""
        self.counting()
        depth = len(self.numbers())
        self.bus.checkpoint("n")
        self.fall(self.kill(signal.SIGSEGV), "signal")
        self.assertEqual(len(self.numbers()), depth)

    def test_status_names_a_twin_that_exists(self):
        self.counting()
        self.bus.checkpoint("n")
        pids = self.bus.get("n", "PIDs", "Twin")
        self.assertEqual(len(pids), 1, pids)
        self.assertIn("t (tracing stop)", field(self.tw, pids[0], "State"))
        status = self.tw.run("twinctl", "twin", "status", "n")
        self.assertIn(str(pids[0]), status.stdout)
        self.fall(self.kill(signal.SIGSEGV), "signal")
        self.assertEqual(self.bus.get("n", "MainPID"), pids[0])

    def test_notify_and_watchdog(self):
        """From the new pid as from the old."""
        self.counting("--notify", "--watchdog", Type="notify", WatchdogSec=WATCHDOG_SECONDS)
        self.bus.checkpoint("n")
        self.fall(self.kill(signal.SIGSEGV), "signal")
        until = time.monotonic() + 3 * WATCHDOG_SECONDS
        wait_for("three periods", lambda: self.c.add() and time.monotonic() > until)
        self.assertEqual(len(self.m.failovers("n")), 1, "its signs of life were not taken")
        self.bus.checkpoint("n")
        self.c.send("hang")
        self.assertEqual(self.m.failover("n", 1)["cause"], "watchdog")

    def test_stop_and_cold_restart(self):
        self.counting()
        self.bus.checkpoint("n")
        self.fall(self.kill(signal.SIGSEGV), "signal")
        before = self.bus.get("n", "MainPID")
        self.tw.run("twinctl", "restart", "n")
        self.running("n")
        wait_for("a new process", lambda: self.bus.get("n", "MainPID") not in (0, before))
        self.assertEqual(self.client(self.address).count(), 0)
        self.tw.run("twinctl", "stop", "n")
        self.wait_state("n", "inactive")

    def test_another_program(self):
        """It cannot be followed out of its namespace again; it is told, and goes on."""
        self.counting(Interval="200ms")
        self.c.send("exec")
        self.tw.said("n: cannot be armed: it has executed another program")
        self.assertEqual(self.client(self.address).count(), 0)

    def test_children_killed(self):
        """Children=kill: none of the children of the dead is there when its twin runs."""
        self.counting(Children="kill")
        pid = self.tw.outer(self.bus.get("n", "MainPID"))
        self.c.ask("child")
        self.bus.checkpoint("n")
        old = os.readlink(f"/proc/{pid}/ns/pid")
        wait_for("a child", lambda: "sleep" in inhabitants(old))
        self.fall(self.kill(signal.SIGSEGV), "signal")
        self.assertNotIn("sleep", inhabitants(old))

    def test_keeper_dies(self):
        """Its twins die with it, and the process 1 of their namespaces; the next one begins anew."""
        self.counting()
        self.bus.checkpoint("n")
        twin = self.tw.outer(self.bus.get("n", "PIDs", "Twin")[0])
        active = self.tw.outer(self.bus.get("n", "MainPID"))
        spaces = [os.readlink(f"/proc/{p}/ns/pid") for p in (twin, active)]
        keeper = self.bus.get("n", "KeeperPID")
        self.tw.kill(keeper, signal.SIGKILL)
        wait_for("the end of its namespaces", lambda: not any(inhabitants(s) for s in spaces))
        wait_for("another keeper", lambda: self.bus.get("n", "KeeperPID") not in (0, keeper))
        self.running("n")
        self.assertEqual(self.client(self.address).count(), 0)


if __name__ == "__main__":
    main()
