#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A node that falls is replaced by its twin: same ids, its memory, its connections."""
import json
import os
import re
import signal
import sys
import time

sys.dont_write_bytecode = True
from harness import (Case, guarded, main, node_path, script, unit, wait_for)  # noqa: E402

IN_A_ROW = 20
# A node that falls again and again this soon after its swap is restarted cold (LADDER_... in
# supervisor/keeper/policy.h): the fault is in its twins.
QUICK_SECONDS, QUICK_TIMES = 1, 3


class Counted(Case):
    """One node with a memory, guarded, and all that is said of it on the bus."""
    tcp = False

    def counting(self, *options, make=guarded, **settings):
        self.address = "tcp:4000" if self.tcp else f"unix:{self.path('s')}"
        self.boot({"n": make(script("counter.py", self.address, *options), **settings)})
        self.c, self.m = self.client(self.address), self.monitor()
        self.pid = self.bus.get("n", "MainPID")
        return self.c

    def swapped(self, cause, nth=0):
        """The nth failover, which must have gone as it should."""
        f = self.m.failover("n", nth)
        self.assert_swap(f, self.pid, cause)
        self.assertEqual(self.bus.get("n", "MainPID"), self.pid)
        self.assertEqual(self.bus.get("n", "ActiveState"), "active")
        return f


class Causes(Counted):
    def check(self, cause, crash, **settings):
        """Count to 5, checkpoint, count on, crash: it goes on from 5 on the same connection."""
        c = self.counting("--threads=3", **settings)
        tids = self.tw.tids(self.pid)
        self.assertEqual(c.add(5), 5)
        self.bus.checkpoint("n")
        self.assertEqual(c.add(2), 7)
        crash(c)
        self.swapped(cause)
        self.assertEqual(c.count(), 5)
        self.assertEqual(c.add(), 6)
        self.assertEqual(int(c.ask("pid")), self.pid)
        self.assertEqual(self.tw.tids(self.pid), tids)
        self.assertEqual(c.tids(), tids)
        again = self.client(self.address)
        self.assertEqual(again.count(), 6)

    def kill(self, sig):
        return lambda _c: self.tw.kill(self.pid, sig)

    def test_sigsegv(self):
        self.check("signal", self.kill(signal.SIGSEGV))

    def test_sigabrt(self):
        self.check("signal", self.kill(signal.SIGABRT))

    def test_sigbus(self):
        self.check("signal", self.kill(signal.SIGBUS))

    def test_sigkill(self):
        self.check("signal", self.kill(signal.SIGKILL))

    def test_abort_of_its_own(self):
        self.check("signal", lambda c: c.send(f"signal {signal.SIGABRT:d}"))

    def test_exit_3(self):
        self.check("exit-code", lambda c: c.send("exit 3"))

    def test_with_core_dumps_on(self):
        self.check("signal", self.kill(signal.SIGSEGV), LimitCORE="infinity")

    def test_twinctl_kill(self):
        self.check("signal", lambda c: self.tw.run("twinctl", "kill", "-s", "SEGV", "n"))


class CausesTcp(Causes):
    """The same with the connection over TCP."""
    tcp = True


class Reports(Counted):
    def test_signal_fields(self):
        c = self.counting()
        c.add()
        self.bus.checkpoint("n")
        self.tw.kill(self.pid, signal.SIGSEGV)
        f = self.swapped("signal")
        self.assertEqual((f["node"], f["path"], f["generation"]), ("n", node_path("n"), 0))
        m = self.m.signals("NodeFailover")[0]
        self.assertEqual(m["payload"]["type"], "sossuuttu")
        self.assertEqual((m["path"], m["interface"]), ("/org/twinit1", "org.twinit1.Manager"))
        twin = self.bus.all("n", "Twin")
        self.assertEqual(twin["LastFailoverCause"], "signal")
        self.assertEqual(twin["LastFailoverResult"], "success")
        self.assertEqual(twin["LastFailoverLatencyUSec"], f["latency_usec"])
        self.assertEqual(twin["LastFailoverRollbackUSec"], f["rollback_usec"])
        self.assertEqual(twin["LastFailoverGeneration"], 0)
        self.assertEqual(twin["NFailovers"], 1)
        self.assertGreater(twin["LastFailoverTimestamp"], 0)
        node = self.bus.all("n")
        self.assertEqual(node["NRestarts"], 0)
        self.assertEqual((node["ExecMainCode"], node["ExecMainStatus"]),
                         (os.CLD_KILLED, signal.SIGSEGV))

    def test_properties_changed(self):
        self.counting()
        self.bus.checkpoint("n")
        path = node_path("n")
        self.tw.kill(self.pid, signal.SIGSEGV)
        self.swapped("signal")
        wait_for("NFailovers", lambda: self.m.changes(path, "org.twinit1.Twin", "NFailovers"))
        self.assertEqual(self.m.changes(path, "org.twinit1.Twin", "NFailovers")[-1], 1)
        self.assertEqual(self.m.changes(path, "org.twinit1.Twin", "LastFailoverCause")[-1],
                         "signal")
        self.tw.run("twinctl", "stop", "n")
        wait_for("inactive", lambda: "inactive" in
                 self.m.changes(path, "org.twinit1.Node", "ActiveState"))
        self.assertEqual(self.m.changes(path, "org.twinit1.Twin", "State")[-1], "none")

    def test_twin_properties(self):
        self.counting("--threads=2", Interval="50ms", Generations="2")
        twin = wait_for("two generations", lambda: self.two_generations())
        self.assertEqual(twin["State"], "armed")
        self.assertEqual(twin["IntervalUSec"], 50_000)
        self.assertEqual(twin["Generations"], 2)
        self.assertEqual(twin["NThreads"], 3)
        for p in twin["PIDs"]:
            self.assertIn("twin", self.tw.proc(p, "comm"))
        self.assertLessEqual(twin["FreezeMedianUSec"], twin["FreezeMaxUSec"])
        self.assertGreater(twin["FreezeLastUSec"], 0)
        self.assertGreater(twin["CheckpointTimestamp"], 0)
        self.assertGreater(twin["MemoryPrivate"], 0)
        self.assertGreaterEqual(self.bus.manager("NTwinsArmed"), 1)
        before = twin["NCheckpoints"]
        self.bus.wait("n", "NCheckpoints", lambda n: n > before + 2, "Twin")

    def two_generations(self):
        twin = self.bus.all("n", "Twin")
        try:
            alive = [self.tw.outer(p) for p in twin["PIDs"]]
        except ProcessLookupError:
            return None  # replaced under our eyes
        return twin if len(alive) == 2 else None

    def test_torn_streams_are_named(self):
        """A question that the twin has not seen: the connection ends, and the report says so."""
        self.tcp = True
        c = self.counting()
        c.add()
        self.bus.checkpoint("n")
        time.sleep(0.1)  # the kernel counts in ticks
        c.send("hang")
        time.sleep(0.05)
        self.tw.kill(self.pid, signal.SIGSEGV)
        self.swapped("signal")
        words = "1 stream torn in mid-message"
        self.assertIn(words, self.bus.get("n", "LastFailoverDetail", "Twin"))
        self.tw.said(f'LOST="{words}')
        self.assertIn(words, self.tw.run("twinctl", "twin", "status", "n").stdout)
        self.assertEqual(self.client(self.address).count(), 1)

    def test_by_pid(self):
        self.counting()
        self.bus.checkpoint("n")
        twin = self.bus.get("n", "PIDs", "Twin")[0]
        for pid in (self.pid, twin, self.bus.get("n", "KeeperPID")):
            self.assertEqual(self.bus.call("GetNodeByPID", "u", str(pid)), [node_path("n")])


class InARow(Counted):
    def let_the_ladder_down(self, done):
        """As many quick crashes as are taken for bad luck, then a longer life."""
        if done % QUICK_TIMES == 0:
            last = self.bus.get("n", "LastFailoverTimestampMonotonic", "Twin") / 1e6
            wait_for("a life of a second", lambda: time.monotonic() > last + QUICK_SECONDS)

    def test_twenty_crashes(self):
        """Each from a twin of the one before; each checkpoint made by the test."""
        c = self.counting("--threads=2", Interval="1h", StartLimitIntervalSec="1h",
                          StartLimitBurst="2")
        tids, signals = self.tw.tids(self.pid), (signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT)
        for n in range(IN_A_ROW):
            self.assertEqual(c.add(), n + 1)
            self.bus.checkpoint("n")
            self.assertEqual(c.add(), n + 2)
            self.tw.kill(self.pid, signals[n % 3])
            self.swapped("signal", n)
            self.assertEqual(c.count(), n + 1)
            self.let_the_ladder_down(n + 1)
        self.assertEqual(self.tw.tids(self.pid), tids)
        self.assertEqual(self.bus.get("n", "NFailovers", "Twin"), IN_A_ROW)
        self.assertEqual(self.bus.get("n", "NRestarts"), 0)

    def test_as_it_comes(self):
        """Interval 20 ms, a crash whenever there is a twin, no checkpoint asked for."""
        c = self.counting(Interval="20ms")
        for n in range(IN_A_ROW):
            before = self.bus.get("n", "NCheckpoints", "Twin")
            self.bus.wait("n", "NCheckpoints", lambda v, b=before: v > b, "Twin")
            c.add()
            self.tw.kill(self.pid, signal.SIGSEGV)
            self.swapped("signal", n)
            self.let_the_ladder_down(n + 1)
        self.assertGreaterEqual(c.add(), 1)

    def test_the_ladder_ends(self):
        """A fault that is in every twin: three quick swaps, then cold by Restart=."""
        self.counting(Generations="2")
        self.bus.checkpoint("n")
        self.tw.kill(self.pid, signal.SIGSEGV)
        self.swapped("signal")
        done = 1
        while not [f for f in self.m.failovers("n") if f["result"] == "cold-restart"]:
            self.assertLess(done, 3 * QUICK_TIMES, "no end of it")
            wait_for("a twin", lambda: self.bus.get("n", "PIDs", "Twin"))
            pid = self.crash("n")
            self.m.failover("n", done)
            done += 1
        last = self.m.failovers("n")[-1]
        self.assertEqual(last["old_pid"], pid)
        self.assertNotEqual(last["new_pid"], pid)
        self.assertEqual(self.bus.get("n", "ActiveState"), "active")


    def test_cold_with_a_port(self):
        """What is kept of the dead for a post-mortem does not keep its port."""
        self.boot({"n": guarded(script("counter.py", "tcp:4000"), Interval="50ms")})
        self.m = self.monitor()
        for n in range(3 * QUICK_TIMES):
            wait_for("a twin", lambda: self.bus.get("n", "PIDs", "Twin"))
            self.crash("n")
            if self.m.failover("n", n)["result"] == "cold-restart":
                break
        self.wait_state("n", "active")
        self.assertGreaterEqual(self.client("tcp:4000").ask("add"), "1")
        self.assertEqual(self.bus.get("n", "NRestarts"), 1)


class Asked(Counted):
    def test_failover_node(self):
        c = self.counting()
        c.add(4)
        self.bus.checkpoint("n")
        c.add()
        self.assertEqual(self.bus.call("FailoverNode", "ss", "n", ""), None)
        self.swapped("requested")
        self.assertEqual(c.count(), 4)

    def test_twinctl_failover(self):
        c = self.counting()
        c.add(4)
        self.bus.checkpoint("n")
        c.add()
        r = self.tw.run("twinctl", "--json", "failover", "n")
        self.assertEqual((r.returncode, r.stderr), (0, ""))
        said, f = json.loads(r.stdout), self.swapped("requested")
        self.assertEqual({k: said[k] for k in f if k in said},
                         {k: f[k] for k in f if k in said})
        self.assertEqual(said["id"], "n")
        self.assertEqual(c.count(), 4)
        self.bus.checkpoint("n")
        r = self.tw.run("twinctl", "failover", "n")
        self.assertRegex(r.stdout, rf"^n: twin took over in .*, pid {self.pid} kept")

    def test_twinctl_checkpoint_and_drop(self):
        c = self.counting()
        self.bus.wait("n", "State", "armed", "Twin")
        before = self.bus.get("n", "NCheckpoints", "Twin")
        r = self.tw.run("twinctl", "twin", "checkpoint", "n")
        self.assertEqual((r.returncode, r.stderr), (0, ""))
        self.assertEqual(self.bus.get("n", "NCheckpoints", "Twin"), before + 1)
        self.assertEqual(self.tw.run("twinctl", "twin", "status", "n").returncode, 0)
        twin = self.tw.outer(self.bus.get("n", "PIDs", "Twin")[0])
        r = self.tw.run("twinctl", "twin", "drop", "n")
        self.assertEqual((r.returncode, r.stderr), (0, ""))
        self.assertEqual(self.bus.get("n", "PIDs", "Twin"), [])
        self.assertNotEqual(self.bus.get("n", "State", "Twin"), "armed")
        self.assertEqual(self.tw.run("twinctl", "twin", "status", "n").returncode, 3)
        wait_for("the twin's end", lambda: not os.path.exists(f"/proc/{twin}"))
        self.assertEqual(c.add(), 1)
        r = self.tw.run("twinctl", "failover", "n")
        self.assertEqual(r.returncode, 1)
        r = self.tw.run("busctl", "call", "org.twinit1", "/org/twinit1", "org.twinit1.Manager",
                        "FailoverNode", "ss", "n", "")
        self.assertNotEqual(r.returncode, 0)
        self.assertEqual(int(c.ask("pid")), self.pid)

    def test_a_twin_that_is_killed_is_replaced(self):
        self.counting(Interval="100ms")
        twin = wait_for("a twin", lambda: self.bus.get("n", "PIDs", "Twin"))[0]
        mark = self.tw.mark()
        try:
            self.tw.kill(twin, signal.SIGKILL)
            self.tw.said(r" n: twin \d+ was killed", mark)
        except ProcessLookupError:
            pass  # its time had come
        before = self.bus.get("n", "NCheckpoints", "Twin")
        self.bus.wait("n", "NCheckpoints", lambda n: n > before, "Twin")
        self.tw.kill(self.pid, signal.SIGSEGV)
        self.swapped("signal")


class NoFailure(Counted):
    def ends(self, crash, state="inactive"):
        c = self.counting()
        self.bus.checkpoint("n")
        twin = self.tw.outer(self.bus.get("n", "PIDs", "Twin")[0])
        crash(c)
        self.wait_state("n", state)
        self.assertEqual(self.m.failovers(), [])
        self.assertEqual(self.bus.get("n", "MainPID"), 0)
        self.assertFalse(os.path.exists(f"/proc/{twin}"), "the twin outlived its node")
        self.assertEqual(self.bus.get("n", "State", "Twin"), "none")

    def test_exit_0(self):
        self.ends(lambda c: c.send("exit 0"))
        self.assertEqual(self.bus.get("n", "Result"), "success")

    def test_sigterm_from_outside(self):
        self.ends(lambda c: self.tw.kill(self.pid, signal.SIGTERM))
        self.assertEqual(self.bus.get("n", "Result"), "success")

    def test_stop_node(self):
        self.ends(lambda c: self.bus.call("StopNode", "ss", "n", "replace"))

    def test_restart_node_is_cold(self):
        c = self.counting()
        c.add(3)
        self.bus.checkpoint("n")
        r = self.tw.run("twinctl", "restart", "n")
        self.assertEqual((r.returncode, r.stderr), (0, ""))
        self.assertNotEqual(self.bus.get("n", "MainPID"), self.pid)
        self.assertEqual(self.client(self.address).count(), 0)
        self.assertEqual(self.m.failovers(), [])


class Cold(Counted):
    def test_twins_off(self):
        c = self.counting(make=unit, Restart="on-failure", RestartSec="0")
        c.add(3)
        self.tw.kill(self.pid, signal.SIGSEGV)
        f = self.m.failover("n")
        self.assertEqual((f["cause"], f["result"], f["rollback_usec"]),
                         ("signal", "cold-restart", 0))
        self.assertEqual(f["old_pid"], self.pid)
        self.assertNotEqual(f["new_pid"], self.pid)
        self.assertEqual(self.bus.get("n", "MainPID"), f["new_pid"])
        wait_for("its socket", lambda: self.fresh_count() == 0)
        self.assertEqual(self.bus.get("n", "NRestarts"), 1)
        self.assertEqual(self.bus.get("n", "State", "Twin"), "none")
        self.assertEqual(self.bus.get("n", "NFailovers", "Twin"), 0)
        with self.assertRaisesRegex(Exception, "Enabled=no|not supported"):
            self.bus.checkpoint("n")

    def fresh_count(self):
        try:
            return self.client(self.address).count()
        except ConnectionResetError:
            return None

    def test_restart_no_stays_down(self):
        self.counting(make=unit)
        self.tw.kill(self.pid, signal.SIGSEGV)
        self.wait_state("n", "failed")
        self.assertIn(self.bus.get("n", "Result"), ("signal", "core-dump"))
        self.assertEqual(self.bus.manager("SystemState"), "degraded")
        self.assertEqual(self.bus.manager("NFailedNodes"), 1)

    def test_a_twin_needs_no_restart_setting(self):
        """Restart=no says nothing about the twin: it takes over all the same."""
        self.counting(Restart="no")
        self.bus.checkpoint("n")
        self.tw.kill(self.pid, signal.SIGSEGV)
        self.swapped("signal")


class Watchdog(Counted):
    def test_expiry_swaps(self):
        c = self.counting("--notify", "--watchdog", Type="notify", WatchdogSec="1s")
        c.add(3)
        self.bus.checkpoint("n")
        c.add()
        c.send("hang")
        f = self.swapped("watchdog")
        self.assertGreater(f["rollback_usec"], 0)
        self.assertEqual(c.count(), 3)
        self.assertEqual(self.bus.get("n", "LastFailoverCause", "Twin"), "watchdog")
        # And goes on being watched.
        self.bus.checkpoint("n")
        c.send("hang")
        self.swapped("watchdog", 1)
        self.assertEqual(c.count(), 3)

    def test_expiry_without_a_twin(self):
        c = self.counting("--notify", "--watchdog", make=unit, Type="notify", WatchdogSec="1s",
                          Restart="on-failure", RestartSec="0")
        c.send("hang")
        f = self.m.failover("n")
        self.assertEqual((f["cause"], f["result"]), ("watchdog", "cold-restart"))
        self.assertNotEqual(f["new_pid"], self.pid)
        self.wait_state("n", "active")


class Plain(Case):
    """Programs that know nothing: sleep, a shell, a shell that forks."""

    def swap(self, command, n=3, **settings):
        self.boot({"n": guarded(command, **settings)})
        m = self.monitor()
        for i in range(n):
            self.bus.checkpoint("n")
            pid = self.crash("n", (signal.SIGSEGV, signal.SIGKILL)[i % 2])
            self.assert_swap(m.failover("n", i), pid, "signal")
        return pid

    def test_sleep(self):
        pid = self.swap("/bin/sleep infinity")
        self.assertEqual(self.tw.proc(pid, "comm"), "sleep\n")
        self.assertEqual(self.bus.get("n", "ActiveState"), "active")

    def test_shell_builtin_loop(self):
        """Reads lines from a pipe, one write a line."""
        os.mkfifo(self.path("in"))
        self.write("n.sh", f"exec <>{self.path('in')}\nn=0\nwhile read -r x; do n=$((n + 1)); "
                   f"echo $n >>{self.path('out')}; done\n")
        self.boot({"n": guarded(f"/bin/sh {self.path('n.sh')}")})
        m = self.monitor()
        self.feed(1)
        self.bus.checkpoint("n")
        self.feed(2)
        pid = self.crash("n")
        self.assert_swap(m.failover("n"), pid, "signal")
        self.feed(2)

    def feed(self, count):
        with open(self.path("in"), "w", encoding="ascii") as f:
            f.write("line\n")
        wait_for(f"count {count}", lambda: os.path.exists(self.path("out")) and
                 re.search(rf"\b{count}\n\Z", self.read("out")))


if __name__ == "__main__":
    main()
