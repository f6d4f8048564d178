#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""From start to stop: order, deadlines, reaping, and the ways down."""
import os
import signal
import sys
import time

sys.dont_write_bytecode = True
from harness import (NODES, Case, children, has_signal, main, others,  # noqa: E402
                     script, status_field, unit, wait_for)

ORPHANS = 400


class Marked(Case):
    """Nodes that leave a mark when they start and when they are stopped."""

    def marker(self, name, gate=None, **settings):
        gate = self.gate(gate) if gate else ""
        return unit(f"/bin/sh {NODES}/mark.sh {self.path('marks')} {name} {gate}", **settings)

    def gate(self, name):
        if not os.path.exists(self.path(name)):
            os.mkfifo(self.path(name))
        return self.path(name)

    def let_go(self, name):
        with open(self.path(name), "w", encoding="ascii") as f:
            f.write("go\n")

    def marks(self, what):
        try:
            lines = [line.split() for line in self.read("marks").splitlines()]
        except FileNotFoundError:
            return []
        return [name for name, did in lines if did == what]

    def wait_marks(self, what, wanted):
        wait_for(f"{wanted} to {what}", lambda: self.marks(what) == wanted)


class Order(Marked):
    def chain(self):
        """c after b after a, each waiting to be let go before it is ready."""
        return {"c": self.marker("c", "gate-c", Type="notify", After="b", Requires="b"),
                "b": self.marker("b", "gate-b", Type="notify", After="a", Requires="a"),
                "a": self.marker("a", "gate-a", Type="notify")}

    def check_order(self, sig):
        self.boot(self.chain(), bus=False)
        for n, name in enumerate("abc"):
            self.wait_marks("start", list("abc")[:n + 1])
            self.assertFalse(self.tw.has_said(rf": {name}: running"))
            self.let_go(f"gate-{name}")
            self.running(name)
        self.assertEqual(self.tw.stop(sig), 0)
        self.assertEqual(self.marks("stop"), ["c", "b", "a"])

    def test_starts_in_order_and_stops_in_reverse_on_sigterm(self):
        self.check_order(signal.SIGTERM)

    def test_starts_in_order_and_stops_in_reverse_on_sigint(self):
        self.check_order(signal.SIGINT)

    def test_before_is_an_order_as_well(self):
        self.boot({"a": self.marker("a", "gate-a", Type="notify", Before="b c"),
                   "b": self.marker("b"), "c": self.marker("c", After="b")}, bus=False)
        self.wait_marks("start", ["a"])
        self.let_go("gate-a")
        wait_for("all to start", lambda: len(self.marks("start")) == 3)
        self.assertEqual(self.tw.stop(), 0)
        self.assertEqual(self.marks("stop"), ["c", "b", "a"])

    def test_stop_while_starting(self):
        self.boot(self.chain(), bus=False)
        self.wait_marks("start", ["a"])
        self.assertEqual(self.tw.stop(), 0)
        self.assertEqual(self.marks("start"), ["a"], "started on the way down")

    def test_required_unit_fails(self):
        self.boot({"a": unit("/bin/false", Type="notify"),
                   "b": self.marker("b", After="a", Requires="a"),
                   "c": self.marker("c", After="a", Wants="a")})
        self.assertEqual(self.wait_state("b", "failed"), "failed")
        self.assertIn("a", self.bus.get("b", "ResultDetail"))
        self.wait_state("c", "active")
        self.assertEqual(self.marks("start"), ["c"])

    def test_only_what_is_wanted_and_pulled_in(self):
        self.boot({"a": self.marker("a", WantedBy=None), "b": self.marker("b", WantedBy=None),
                   "c": self.marker("c", WantedBy=None, Wants="b", After="b")},
                  "--start=dbus", "--start=c")
        self.wait_state("c", "active")
        self.assertEqual(self.bus.get("b", "ActiveState"), "active")
        self.assertEqual(self.bus.get("a", "ActiveState"), "inactive")

    def test_without_units(self):
        self.boot({}, bus=False)
        self.assertEqual(self.tw.stop(), 0)


class Deadlines(Marked):
    def stubborn(self, **settings):
        return unit("/bin/sh -c \"trap '' TERM; while :; do sleep 1000; done\"", **settings)

    def wait_deaf(self, node):
        pid = self.main_pid(node)
        wait_for("the trap",
                 lambda: has_signal(self.tw.outer(pid), "SigIgn", signal.SIGTERM))

    def test_a_node_that_ignores_sigterm_is_killed(self):
        self.boot({"deaf": self.stubborn(TimeoutStopSec="300ms"), "good": self.marker("good")},
                  bus=False)
        self.wait_deaf("deaf")
        self.wait_marks("start", ["good"])
        begun = time.monotonic()
        self.assertEqual(self.tw.stop(), 0)
        self.assertGreater(time.monotonic() - begun, 0.3, "not after TimeoutStopSec=")
        self.assertTrue(self.tw.has_said(" deaf: does not end, sending SIGKILL"))
        self.assertEqual(self.marks("stop"), ["good"])

    def test_the_overall_deadline(self):
        self.boot({"deaf": self.stubborn(TimeoutStopSec="infinity")}, "--shutdown-timeout=1",
                  bus=False)
        self.wait_deaf("deaf")
        self.assertEqual(self.tw.stop(), 0)
        self.assertTrue(self.tw.has_said("time is up while stopping the nodes"))

    def test_a_second_signal_hurries(self):
        self.boot({"deaf": self.stubborn(TimeoutStopSec="infinity")}, bus=False)
        self.wait_deaf("deaf")
        self.tw.send(signal.SIGTERM)
        self.tw.said("SIGTERM: shutting down")
        self.assertEqual(self.tw.stop(signal.SIGINT), 0)
        self.assertTrue(self.tw.has_said("SIGINT again"))

    def test_a_start_that_takes_too_long(self):
        self.boot({"slow": self.marker("slow", "gate", Type="notify", TimeoutStartSec="300ms"),
                   "good": self.marker("good")})
        self.wait_state("slow", "failed")
        self.assertEqual(self.bus.get("slow", "Result"), "timeout")
        self.assertEqual(self.bus.get("good", "ActiveState"), "active")

    def test_kill_signal(self):
        self.boot({"n": unit("/bin/sh -c \"trap 'echo by USR1; exit 0' USR1; trap '' TERM; "
                             "echo ready; while :; do sleep 1000 & wait; done\"",
                             KillSignal="SIGUSR1")}, bus=False)
        self.tw.said("^ready$")
        self.assertEqual(self.tw.stop(), 0)
        self.assertTrue(self.tw.has_said("^by USR1$"))
        self.assertFalse(self.tw.has_said("SIGKILL"))

    def test_a_stopped_node_is_stopped(self):
        """Stopped by SIGSTOP, it gets its SIGTERM all the same."""
        self.boot({"n": self.marker("n")}, bus=False)
        self.wait_marks("start", ["n"])
        pid = self.main_pid("n")
        self.tw.kill(pid, signal.SIGSTOP)
        self.assertEqual(self.tw.stop(), 0)
        self.assertEqual(self.marks("stop"), ["n"])


class Reaping(Case):
    def zombies(self):
        return [p for p in children(self.tw.pid)
                if (status_field(p, "State") or "").startswith("Z")]

    def test_hundreds_of_orphans_as_pid_1(self):
        self.write("orphans", f"i=0\nwhile [ $i -lt {ORPHANS} ]; do (true &); i=$((i + 1)); done\n"
                   "echo all were made\nexec sleep infinity\n")
        self.boot({"n": unit(f"/bin/sh {self.path('orphans')}")}, "--log-level=debug", bus=False)
        self.tw.said("^all were made$")
        # Half of them: what does not fit the pipe to us is dropped, and not waited for.
        wait_for("the last orphan's end", lambda: len(self.tw.has_said(r"reaped \d+: exited 0")) >=
                 ORPHANS // 2 and len(children(self.tw.pid)) == 1)
        self.assertEqual(self.zombies(), [])

    def check_orphan(self, **kw):
        os.mkfifo(self.path("gate"))
        self.write("orphan", "echo orphan $$\nread x <" + self.path("gate"))
        self.boot({"n": unit("/bin/sh -c \"(setsid sh %s &); exec sleep infinity\"" %
                             self.path("orphan"))}, "--log-level=debug", bus=False, **kw)
        orphan = int(self.tw.said(r"^orphan (\d+)$")[1])
        wait_for("a new parent", lambda: status_field(self.tw.outer(orphan), "PPid") ==
                 str(self.tw.pid))
        with open(self.path("gate"), "w", encoding="ascii") as f:
            f.write("end\n")
        self.tw.said(rf"reaped {orphan}: exited 0")
        self.assertEqual(self.zombies(), [])

    def test_an_orphan_as_pid_1(self):
        self.check_orphan()

    def test_an_orphan_as_subreaper(self):
        self.check_orphan(pid1=False)

    def test_orphans_go_down_as_subreaper(self):
        self.boot({"n": unit("/bin/sh -c \"(setsid sleep 1000 &); exec sleep infinity\"")},
                  bus=False, pid1=False)
        wait_for("the orphan", lambda: [p for p in children(self.tw.pid)
                                        if "sleep 1000" in others().get(p, "")])
        self.assertEqual(self.tw.stop(), 0)
        self.assertEqual(others(), {})

    def test_a_node_as_subreaper(self):
        """Not PID 1: a swap and an orderly end all the same."""
        address = f"unix:{self.path('s')}"
        self.boot({"n": unit(script("counter.py", address), Enabled="yes", Interval="1h")},
                  pid1=False)
        c, m = self.client(address), self.monitor()
        c.add(3)
        self.bus.checkpoint("n")
        pid = self.crash("n")
        self.assert_swap(m.failover("n"), pid, "signal")
        self.assertEqual(c.add(), 4)


if __name__ == "__main__":
    main()
