#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A bus that comes late, goes, comes back, or never is: nodes are guarded all the same."""
import os
import signal
import sys

sys.dont_write_bytecode = True
from harness import (Case, Monitor, comm, end_inside, guarded, main, script,  # noqa: E402
                     unit, wait_for)


class BusLife(Case):
    def setUp(self):
        super().setUp()
        self.address = f"unix:{self.path('s')}"
        self.daemons = []

    def counter(self, **settings):
        return {"n": guarded(script("counter.py", self.address), **settings)}

    def start_bus(self):
        """A daemon that twinit knows nothing of."""
        daemon = self.tw.spawn(*self.dbus_command().split())
        self.daemons.append(daemon)
        wait_for("the bus", lambda: os.path.exists(self.path("bus/system_bus_socket")) and
                 self.tw.run("busctl", "list").returncode == 0)
        return daemon

    def tearDown(self):
        try:
            self.close_all()
            for d in self.daemons:
                end_inside(d)
        finally:
            super().tearDown()

    def joined(self, since=0):
        self.tw.said("joined the bus", since)
        self.assertEqual(self.bus.manager("SystemState"), "running")
        owner = self.tw.run("busctl", "status", "org.twinit1")
        self.assertEqual(owner.returncode, 0)
        self.assertRegex(owner.stdout, r"PID=1\b")

    def swaps(self, n=1, c=None):
        """A crash and a swap that is seen in the log and at the socket alone."""
        c = c or self.client(self.address)
        count, pid = c.add(), int(c.ask("pid"))
        mark = self.tw.mark()
        # The twin of the start, or of the last swap, is enough here.
        self.tw.kill(pid, signal.SIGSEGV)
        self.tw.said(rf" n: failed over to its twin .*NEW_PID={pid}\b", mark)
        self.assertEqual(int(c.ask("pid")), pid)
        self.assertLessEqual(c.count(), count)
        return c

    def test_comes_late(self):
        self.boot(self.counter(), bus=None)
        self.running("n")
        self.tw.said("no bus yet at unix:path=/run/dbus/system_bus_socket")
        self.start_bus()
        self.joined()
        self.assertEqual(self.bus.get("n", "ActiveState"), "active")
        self.bus.checkpoint("n")
        m = self.monitor()
        pid = self.crash("n")
        self.assert_swap(m.failover("n"), pid, "signal")

    def check_dies_and_returns(self, sig):
        self.boot(self.counter(), bus=None)
        self.start_bus()
        self.joined()
        for _ in range(3):
            mark = self.tw.mark()
            for inside in [p for p, c in self.tw.inside().items() if "dbus-daemon" in c]:
                os.kill(inside, sig)
            self.daemons[-1].wait()
            self.tw.said("lost the bus", mark)
            self.assertFalse(self.bus.is_joined())
            self.start_bus()
            self.joined(mark)
        m = self.monitor()
        self.bus.checkpoint("n")
        pid = self.crash("n")
        self.assert_swap(m.failover("n"), pid, "signal")

    def test_is_killed_and_returns(self):
        self.check_dies_and_returns(signal.SIGKILL)

    def test_ends_and_returns(self):
        self.check_dies_and_returns(signal.SIGTERM)

    def test_is_gone_while_a_node_crashes(self):
        """What happened in between is read from the properties afterwards."""
        self.boot(self.counter(), bus=None)
        daemon = self.start_bus()
        self.joined()
        c = self.client(self.address)
        c.add()
        self.bus.checkpoint("n")
        mark = self.tw.mark()
        end_inside(daemon)
        self.tw.said("lost the bus", mark)
        self.swaps(c=c)
        self.start_bus()
        self.joined(mark)
        self.assertEqual(self.bus.get("n", "NFailovers", "Twin"), 1)
        self.assertEqual(self.bus.get("n", "LastFailoverCause", "Twin"), "signal")

    def test_our_own_child_is_killed_and_restarted(self):
        self.boot({"dbus": unit(self.dbus_command(), Restart="always", RestartSec="0"),
                   **self.counter()})
        old = self.bus.get("dbus", "MainPID")
        mark = self.tw.mark()
        self.tw.kill(old, signal.SIGKILL)
        self.joined(mark)
        self.assertNotEqual(self.bus.get("dbus", "MainPID"), old)
        self.assertEqual(self.bus.get("dbus", "NRestarts"), 1)

    def test_our_own_child_has_a_twin(self):
        """A bus daemon that is rolled back to before anybody was there: still a whole bus."""
        self.boot({"dbus": guarded(self.dbus_command()), **self.counter()})
        wait_for("its twin", lambda: self.bus.get("dbus", "PIDs", "Twin"))
        pid = self.bus.get("dbus", "MainPID")
        mark = self.tw.mark()
        self.tw.kill(pid, signal.SIGSEGV)
        self.tw.said(rf" dbus: failed over to its twin .*NEW_PID={pid}\b", mark)
        wait_for("the name", self.bus.is_joined)
        self.assertEqual(self.bus.get("dbus", "MainPID"), pid)
        self.assertEqual(self.bus.get("n", "ActiveState"), "active")
        m = Monitor(self.tw)
        self.open.append(m)
        self.bus.checkpoint("n")
        self.assert_swap_of_n(m)

    def assert_swap_of_n(self, m):
        pid = self.crash("n")
        self.assert_swap(m.failover("n"), pid, "signal")

    def check_without(self, *options, bus):
        self.boot(self.counter(Interval="50ms"), *options, bus=bus)
        c = self.client(self.address)
        for _ in range(3):
            # A second one: so the first was ready.
            first = wait_for("a twin", self.twins)
            wait_for("another twin", lambda old=first: set(self.twins()) - set(old))
            self.swaps(c=c)
        r = self.tw.run("twinctl", "list")
        self.assertEqual(r.returncode, 1)
        self.assertIn("cannot reach the bus", r.stderr)

    def twins(self):
        """Twins are known by their name, if nobody can be asked."""
        found = []
        for pid in self.tw.inside():
            try:
                name = comm(pid)
            except OSError:
                continue
            if "twin" in name and not name.startswith("twinit"):
                found.append(pid)
        return found

    def test_never_comes(self):
        self.check_without(bus=None)

    def test_is_not_wanted(self):
        self.check_without(bus=False)

    def test_other_address(self):
        text = self.read("dbus.conf").replace("/run/dbus/system_bus_socket",
                                              self.path("elsewhere"))
        self.write("dbus.conf", text)
        address = f"unix:path={self.path('elsewhere')}"
        self.boot(self.counter(), f"--bus-address={address}", bus=None)
        daemon = self.tw.spawn(*self.dbus_command().split())
        self.daemons.append(daemon)
        self.tw.said("joined the bus")
        r = self.tw.run("busctl", f"--address={address}", "tree", "org.twinit1")
        self.assertEqual((r.returncode, r.stderr), (0, ""))
        r = self.tw.run("twinctl", f"--address={address}", "is-active", "n")
        self.assertEqual((r.returncode, r.stdout), (0, "active\n"))


class LogLevel(Case):
    def test_reaches_the_keepers(self):
        self.boot({"n": guarded("/bin/sleep infinity")}, "--log-level=debug")
        self.bus.checkpoint("n")
        self.assertTrue(self.tw.has_said(r"<7>twinit-keeper\[\d+\]: n: armed"))

    def test_quiet(self):
        self.boot({"n": unit('/bin/sh -c "echo it runs; exec sleep infinity"')},
                  "--log-level=warning", bus=None)
        self.tw.said("it runs")
        self.assertFalse(self.tw.has_said(r"<[567]>twinit"))


if __name__ == "__main__":
    main()
