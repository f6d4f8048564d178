#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What follows from a failure or a failover for other nodes, and for the node itself."""
import signal
import sys

sys.dont_write_bytecode = True
from harness import Case, guarded, main, script, unit, wait_for  # noqa: E402

SLEEP = "/bin/sleep infinity"
FAILS = "/bin/sh -c 'exit 3'"


class Failures(Case):
    def test_on_failure_and_failsafe(self):
        self.boot({"n": unit(SLEEP, OnFailure="alarm", FailsafeUnit="brake"),
                   "alarm": unit(SLEEP, WantedBy=None), "brake": unit(SLEEP, WantedBy=None)})
        self.wait_state("n", "active")
        self.assertEqual(self.bus.get("alarm", "ActiveState"), "inactive")
        self.crash("n")
        self.wait_state("n", "failed")
        self.wait_state("alarm", "active")
        self.wait_state("brake", "active")
        # Its place is taken until it is back.
        self.bus.call("StartNode", "ss", "n", "replace")
        self.wait_state("n", "active")
        self.wait_state("brake", "inactive")
        self.assertEqual(self.bus.get("alarm", "ActiveState"), "active")

    def test_binds_to_and_part_of(self):
        self.boot({"n": unit(SLEEP, Restart="no"), "bound": unit(SLEEP, BindsTo="n"),
                   "needs": unit(SLEEP, Requires="n"), "part": unit(SLEEP, PartOf="n")})
        for node in ("n", "bound", "needs", "part"):
            self.wait_state(node, "active")
        self.crash("n")
        self.wait_state("bound", "inactive")
        self.assertEqual(self.bus.get("needs", "ActiveState"), "active")
        self.assertEqual(self.bus.get("part", "ActiveState"), "active")
        self.bus.call("StopNode", "ss", "n", "replace")
        self.wait_state("needs", "inactive")
        self.wait_state("part", "inactive")

    def test_success_exit_status(self):
        self.boot({"n": unit(FAILS, SuccessExitStatus="3 SIGUSR1", WantedBy=None)})
        self.bus.call("StartNode", "ss", "n", "replace")
        self.tw.said("n: dead")
        self.assertEqual(self.bus.get("n", "Result"), "success")
        self.assertEqual(self.bus.get("n", "ActiveState"), "inactive")

    def test_delays_grow(self):
        """Four restarts take 50, 100, 200, 400 ms at least, and the limit ends them."""
        self.boot({"n": unit(FAILS, Restart="always", RestartSec="50ms", RestartSteps="3",
                             RestartMaxDelaySec="400ms", StartLimitBurst="5",
                             StartLimitIntervalSec="60s")})
        self.wait_state("n", "failed")
        self.assertEqual(self.bus.get("n", "Result"), "start-limit-hit")
        took = (self.bus.get("n", "ExecMainStartTimestampMonotonic") -
                self.bus.manager("UserspaceTimestampMonotonic"))
        self.assertGreater(took, 750_000)


class Dependents(Case):
    def fail_over(self):
        """The node falls, and its twin takes over."""
        monitor = self.monitor()
        self.bus.checkpoint("n")
        self.crash("n")
        self.assertEqual(monitor.failover("n")["result"], "success")

    def counting(self, action, notify=False, **settings):
        """A node to fail, and a counter that has something done to it."""
        address = f"unix:{self.path('d')}"
        needs = {} if notify else {"Requires": "n", "After": "n"}
        self.boot({"n": guarded(SLEEP, Notify="d" if notify else None),
                   "d": guarded(script("counter.py", address), OnDependencyFailover=action,
                                **needs, **settings)})
        self.wait_state("n", "active")
        c = self.client(address)
        c.add(3)
        return c

    def test_signal(self):
        c = self.counting("signal:SIGHUP")
        self.fail_over()
        wait_for("the signal", lambda: c.count() == 4)

    def test_signal_by_notify(self):
        c = self.counting("n=signal:SIGHUP", notify=True)
        self.fail_over()
        wait_for("the signal", lambda: c.count() == 4)

    def test_none_of_this_node(self):
        c = self.counting("signal:SIGHUP n=none")
        self.fail_over()
        self.assertEqual(c.count(), 3)

    def test_reload(self):
        c = self.counting("reload", ExecReload="/bin/kill -HUP $MAINPID")
        self.fail_over()
        wait_for("the reload", lambda: c.count() == 4)
        self.tw.said("d: reloaded")

    def test_reload_without_a_command(self):
        self.counting("reload")
        self.fail_over()
        self.tw.said("d: n has failed over: reload")

    def test_checkpoint(self):
        c = self.counting("checkpoint")
        before = self.bus.get("d", "NCheckpoints", "Twin")
        self.fail_over()
        wait_for("a checkpoint",
                 lambda: self.bus.get("d", "NCheckpoints", "Twin") > before)
        self.assertEqual(c.count(), 3)

    def test_restart(self):
        self.counting("restart")
        pid = self.bus.get("d", "MainPID")
        self.fail_over()
        wait_for("another process",
                 lambda: self.bus.get("d", "MainPID") not in (0, pid))
        self.wait_state("d", "active")

    def test_stop(self):
        self.counting("stop")
        self.fail_over()
        self.wait_state("d", "inactive")


class Faults(Case):
    def counting(self, **settings):
        address = f"unix:{self.path('s')}"
        self.boot({"n": guarded(script("counter.py", address), **settings)})
        return self.client(address), self.monitor()

    def fault(self):
        return self.bus.get("n", "LastFailoverFault", "Twin")

    def test_it_is_known_again(self):
        c, m = self.counting(StableSec="0", Generations=4)
        self.bus.checkpoint("n")
        for nth in range(2):
            c.send(f"signal {signal.SIGSEGV:d}")
            self.assertEqual(m.failover("n", nth)["result"], "success")
            self.bus.checkpoint("n")
            self.assertRegex(self.fault(), rf"^SIGSEGV in libc.*\+0x[0-9a-f]+ \(build-id "
                             rf"[0-9a-f]+\), seen {nth + 1} time")
        c.send("exit 3")
        self.assertEqual(m.failover("n", 2)["result"], "success")
        self.assertEqual(self.fault(), "exit status 3, seen 1 time")
        self.bus.checkpoint("n")
        self.crash("n")
        self.assertEqual(m.failover("n", 3)["result"], "success")
        self.assertEqual(self.fault(), "")

    def test_the_same_path_again_ends_cold(self):
        """A minute of health between them is none where it is the same instruction each time."""
        c, m = self.counting(StableSec="60s", Generations=4)
        pid = self.bus.get("n", "MainPID")
        self.bus.checkpoint("n")
        for nth in range(3):
            c.send(f"signal {signal.SIGSEGV:d}")
            self.assertEqual(m.failover("n", nth)["result"], "success")
            self.bus.checkpoint("n")
        c.send(f"signal {signal.SIGSEGV:d}")
        self.assertEqual(m.failover("n", 3)["result"], "cold-restart")
        self.assertNotEqual(self.bus.get("n", "MainPID"), pid)


class Itself(Case):
    def test_event_fd(self):
        """The twin finds a datagram that tells it of its own swap."""
        address = f"unix:{self.path('s')}"
        # Whose command has none of it is told of none.
        self.boot({"n": guarded(script("counter.py", address), EventFD="yes",
                                ExecStartPre="/bin/sh -c '! env | grep TWINIT_EVENT_FD'")})
        c = self.client(address)
        self.bus.checkpoint("n")
        self.crash("n", signal.SIGABRT)
        event = dict(word.split("=") for word in c.ask("event").split())
        self.assertEqual((event["FAILOVER"], event["CAUSE"]), ("1", "signal"))
        self.assertGreater(int(event["ROLLBACK_USEC"]), 0)


if __name__ == "__main__":
    main()
