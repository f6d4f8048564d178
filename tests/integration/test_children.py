#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""GuardChildren=yes: a child that crashes is rolled back under its living parent, whose wait()
hears of nothing; every other end of a child is what it would be without us."""
import os
import signal
import sys

sys.dont_write_bytecode = True
from harness import (Case, children, guarded, main, node_path, script,  # noqa: E402
                     status_field, wait_for)

IN_A_ROW = 3


class Family(Case):
    def family(self, n=2, *options, **settings):
        """A node with n children, each guarded where it may be."""
        self.address = f"unix:{self.path('s')}"
        command = script("family.py", self.path("log"), self.address, n, *options)
        self.boot({"n": guarded(command, **{"GuardChildren": "yes", "StableSec": "1ms", **settings})},
                  "--log-level=debug")
        self.m = self.monitor()
        self.clients = [self.client(f"{self.address}.{i + 1}") for i in range(n)]
        self.pids = [int(c.ask("pid")) for c in self.clients]
        self.pid = self.bus.get("n", "MainPID")
        return self.clients

    def checkpoints(self, n=2):
        """Of the node: a child that it has at two of them is guarded."""
        for _ in range(n):
            self.bus.checkpoint("n")

    def guarded(self, pid):
        said = self.tw.said(rf"n: child {pid} \(\S+\): guarded")

    def told(self):
        """What the parent's wait() has said."""
        return [line for line in self.read("log").splitlines() if not line.startswith("child")]

    def twins(self, pid):
        """Twins and the holder of a child, by their names; pids of the test's own."""
        found = set()
        for p in children(self.tw.outer(pid)):
            name, state = status_field(p, "Name"), status_field(p, "State")
            # A twin has its name a moment after it was made.
            if name and state and state[0] not in "ZX" and "twin" in name:
                found.add(p)
        return found

    def tracer(self, pid):
        return int(status_field(self.tw.outer(pid), "TracerPid"))

    def strike(self, pid, sig=signal.SIGSEGV):
        self.mark = self.tw.mark()
        self.tw.kill(pid, sig)
        said = self.tw.said(rf"n: child {pid} \(\S+\): signal \(SIG(\w+)\).*[:,] (twin took over|"
                            r"and no twin)", self.mark)
        if said[2] == "twin took over":
            back = self.tw.said(rf"n: child {pid}: rolled back", self.mark)
            self.mark = self.tw.log.all.index(back.string, self.mark)
        return said

    def armed(self, pid):
        """Again, since it was rolled back."""
        self.tw.said(rf"n: child {pid}: armed: twin", self.mark)


class Crashes(Family):
    def rolled_back(self, *options, **settings):
        """Three times in a row, of one of two."""
        a, b = self.family(2, *options, **settings)
        pid = self.pids[0]
        self.assertEqual((a.add(5), b.add(7)), (5, 7))
        self.checkpoints()
        for p in self.pids:
            self.guarded(p)
        for i in range(IN_A_ROW):
            twins = self.twins(pid)
            self.assertEqual(len(twins), 2, twins)
            self.assertEqual(a.add(2), 7)
            said = self.strike(pid)
            self.assertEqual((said[1], said[2]), ("SEGV", "twin took over"))
            self.assertEqual(a.count(), 5)
            self.assertEqual(int(a.ask("pid")), pid)
            self.bus.wait("n", "NChildFailovers", i + 1, "Twin")
            self.armed(pid)
        self.assertEqual(self.told(), [])
        self.assertEqual(b.count(), 7)
        self.assertEqual(self.m.failovers("n"), [])
        self.assertEqual(self.bus.get("n", "MainPID"), self.pid)
        self.assertEqual(self.bus.get("n", "NChildrenGuarded", "Twin"), 2)
        wait_for("three changes", lambda: self.m.changes(
            node_path("n"), "org.twinit1.Twin", "NChildFailovers") == [1, 2, 3])
        self.assertIn("2 guarded, 3 taken over",
                      self.tw.run("twinctl", "twin", "status", "n").stdout)
        new = self.client(f"{self.address}.1")
        self.assertEqual(new.count(), 5)
        return a, b

    def test_three_in_a_row(self):
        self.rolled_back()

    def test_with_threads(self):
        a, _ = self.rolled_back("--threads=3")
        self.assertEqual(len(a.tids()), 4)
        self.assertEqual(self.tw.tids(self.pids[0]), a.tids())

    def test_as_another_user(self):
        os.chmod(self.scratch, 0o777)
        self.rolled_back(User="nobody")

    def test_abort_of_its_own(self):
        a, _ = self.family()
        a.add(5)
        self.checkpoints()
        self.guarded(self.pids[0])
        a.add(2)
        a.send(f"signal {signal.SIGABRT:d}")
        self.tw.said(r"n: child \d+ \(\S+\): signal \(SIGABRT\): twin took over in \d+ us")
        self.assertEqual(a.count(), 5)
        self.assertEqual(self.told(), [])

    def test_job_of_a_shell(self):
        self.address = f"unix:{self.path('s')}"
        command = f'/bin/sh -c "{script("counter.py", self.address)} & wait; exit 7"'
        self.boot({"n": guarded(command, GuardChildren="yes", Restart="no")}, "--log-level=debug")
        c = self.client(self.address)
        pid = int(c.ask("pid"))
        self.checkpoints()
        self.guarded(pid)
        c.add(2)
        self.assertEqual(self.strike(pid)[2], "twin took over")
        self.assertEqual(c.count(), 0)
        c.send("exit 0")
        self.bus.wait("n", "ExecMainStatus", 7)

    def test_its_parent_wants_it(self):
        """What the parent sends is the parent's wish."""
        c, _ = self.family(2, "--killer")
        self.checkpoints()
        self.guarded(self.pids[0])
        c.add()
        self.tw.kill(self.pid, signal.SIGUSR1)
        wait_for("the end of a child", self.told)
        self.assertEqual(int(self.told()[0].split()[2]) & 0x7f, signal.SIGABRT)
        self.tw.said(r"and no twin: its parent sent it")

    def test_the_twins_fail_as_well(self):
        """Each failure soon after the one before: at last it may die."""
        self.family(1, StableSec="1h", Interval="50ms")
        pid = self.pids[0]
        self.guarded(pid)
        for _ in range(3):
            self.assertEqual(self.strike(pid)[2], "twin took over")
            self.armed(pid)
        self.assertEqual(self.strike(pid)[2], "and no twin")
        wait_for("its end", lambda: self.told())
        self.assertEqual(self.told()[0].split()[:2], ["ended", str(pid)])
        self.assertEqual(int(self.told()[0].split()[2]) & 0x7f, signal.SIGSEGV)

    def test_the_node_itself(self):
        """Rolled back in place the node keeps its children, and they their guards."""
        a, b = self.family()
        self.assertEqual((a.add(5), b.add(7)), (5, 7))
        self.checkpoints()
        for p in self.pids:
            self.guarded(p)
        self.checkpoints(1)
        self.crash("n")
        f = self.m.failover("n")
        self.assert_swap(f, self.pid, "signal")
        self.assertEqual((a.count(), b.count()), (5, 7))
        a.add(2)
        self.assertEqual(self.strike(self.pids[0])[2], "twin took over")
        self.assertEqual((a.count(), b.count(), self.told()), (5, 7, []))

    def test_killed_the_node_leaves_them(self):
        """By reclaim they are nobody's children: their guards let go."""
        a, b = self.family(KillMode=None)
        self.assertEqual((a.add(5), b.add(7)), (5, 7))
        self.checkpoints()
        for p in self.pids:
            self.guarded(p)
        self.checkpoints(1)
        self.crash("n", signal.SIGKILL)
        self.assertEqual(self.m.failover("n")["result"], "success")
        self.assertIn("children", self.bus.get("n", "LastFailoverDetail", "Twin"))
        for p in self.pids:
            wait_for("no twins", lambda p=p: not self.twins(p) and self.tracer(p) == 0)
        self.assertEqual((a.add(), b.add()), (6, 8))
        self.bus.wait("n", "NChildrenGuarded", 0, "Twin")


class Ends(Family):
    """What is no crash is not ours."""

    def one(self):
        c, *_ = self.family(2)
        c.add(5)
        self.checkpoints()
        for p in self.pids:
            self.guarded(p)
        return c

    def ended(self, raw):
        wait_for("the end of a child", self.told)
        self.assertEqual(self.told(), [f"ended {self.pids[0]} {raw}"])
        self.bus.wait("n", "NChildrenGuarded", 1, "Twin")
        self.assertEqual(self.bus.get("n", "NChildFailovers", "Twin"), 0)
        # Nothing else that the parent has not made.
        self.tw.kill(self.pids[1], signal.SIGKILL)
        wait_for("the end of all", lambda: len(self.told()) == 3)
        self.assertEqual(self.told()[1:], [f"ended {self.pids[1]} 9", "none"])

    def test_exit(self):
        self.one().send("exit 3")
        self.ended(3 << 8)

    def test_sigkill(self):
        self.one()
        self.tw.kill(self.pids[0], signal.SIGKILL)
        self.ended(signal.SIGKILL)

    def test_sigterm(self):
        self.one()
        self.tw.kill(self.pids[0], signal.SIGTERM)
        self.ended(signal.SIGTERM)

    def test_exec(self):
        """Another program: new twins, of that."""
        c = self.one()
        twins = self.twins(self.pids[0])
        c.send("exec")

        def another():
            try:
                return self.client(f"{self.address}.1").ask("get") == "0"
            except ConnectionError:
                return False
        wait_for("the other program", another)
        self.assertEqual(int(self.clients[-1].ask("pid")), self.pids[1])
        self.assertFalse(twins & self.twins(self.pids[0]))
        self.assertEqual(self.told(), [])

    def test_guard_killed(self):
        """Its guard gone, the child goes on, and gets another."""
        c = self.one()
        mark = self.tw.mark()
        os.kill(self.tracer(self.pids[0]), signal.SIGKILL)
        self.tw.said(r"its guard has ended", mark)
        wait_for("no twins", lambda: not self.twins(self.pids[0]))
        self.assertEqual(c.add(), 6)
        self.checkpoints(1)
        self.tw.said(rf"n: child {self.pids[0]} \(\S+\): guarded", mark)
        # What the other guard has left is gone, too.
        self.assertEqual(set(children(self.tw.outer(self.pids[0]))), self.twins(self.pids[0]))
        c.add(2)
        self.assertEqual(self.strike(self.pids[0])[2], "twin took over")
        self.assertEqual(c.count(), 6)
        self.assertEqual(self.told(), [])


class NotGuarded(Family):
    def alone(self, pid):
        self.assertEqual(self.tracer(pid), 0)

    def test_not_asked_for(self):
        self.family(GuardChildren=None)
        self.checkpoints(3)
        self.alone(self.pids[0])

    def test_subreaper(self):
        self.family(2, "--subreaper")
        self.checkpoints(3)
        self.tw.said("children are not guarded: the node takes in orphans")
        self.alone(self.pids[0])

    def test_with_children_of_their_own(self):
        self.family(2, "--nested")
        self.checkpoints(3)
        self.alone(self.pids[0])

    def test_too_many(self):
        self.family(18)
        self.checkpoints(3)
        self.tw.said(r"more than 16 children: child \d+ \(\S+\) and others are not guarded")
        self.bus.wait("n", "NChildrenGuarded", 16, "Twin")


if __name__ == "__main__":
    main()
