#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Failure detectors under the real daemon: the fault, the words on the bus, the twin."""
import signal
import sys

sys.dont_write_bytecode = True
from harness import (Case, guarded, main, node_path, wait_for)  # noqa: E402
from harness.daemon import BUILD  # noqa: E402

MARKER = f"{BUILD}/tests/integration/marker"


class Probes(Case):
    def check(self, steps, fault, cause, probe="", name="p", **settings):
        """The node does these steps, and from a signal on the others: it is replaced, and goes on."""
        text = guarded(f"{MARKER} {steps} --fault {fault}", **settings)
        self.boot({"n": text + (f"[Probe {name}]\n{probe}\n" if probe else "")})
        m = self.monitor()
        pid = self.bus.get("n", "MainPID")
        self.bus.checkpoint("n")
        self.tw.kill(pid, signal.SIGUSR1)
        f = m.failover("n")
        self.assert_swap(f, pid, cause)
        told = wait_for("NodeProbe", lambda: self.probe_signals(m, "failed"))[0]
        self.assertEqual(told[:2], ["n", node_path("n")])
        self.assertEqual(told[2], name)
        wait_for("its recovery", lambda: self.probe_signals(m, "alive"))
        self.assertEqual(self.stage(name), "alive")
        return m, told

    def probe_signals(self, m, stage):
        return [s["payload"]["data"] for s in m.signals("NodeProbe")
                if s["payload"]["data"][4] == stage]

    def stage(self, name):
        return next(p[2] for p in self.bus.get("n", "Probes") if p[0] == name)

    def test_watchdog_with_soft_stage(self):
        m, told = self.check("watchdog sleep:50", "hang", "watchdog", name="watchdog",
                             WatchdogSec="3s", WatchdogSoftSec="500ms")
        self.assertEqual(told[3], "watchdog")
        self.assertRegex(told[5], r"no WATCHDOG=1 for \d+ ms")
        suspect = self.probe_signals(m, "suspect")[0]
        self.assertEqual(suspect[2:5], ["watchdog", "watchdog", "suspect"])
        self.tw.said(r"twinit-backtrace\[\d+\]: n:   #\d+ +0x[0-9a-f]+ fall_into_deadlock\+0x")
        self.assertEqual(self.bus.get("n", "WatchdogSoftUSec"), 500_000)
        self.assertEqual(self.bus.get("n", "NotifyAccess"), "all")

    def test_alive(self):
        _, told = self.check("mark:p sleep:50", "sleep:50", "heartbeat",
                             "Kind=alive\nCycle=500ms")
        self.assertEqual(told[3], "alive")

    def test_deadline(self):
        self.check("mark:a sleep:20 mark:b", "mark:a sleep:60000", "deadline",
                   "Kind=deadline\nFrom=a\nTo=b\nMaxTime=500ms")

    def test_logical(self):
        _, told = self.check("mark:a sleep:20 mark:b sleep:20", "mark:b sleep:20", "logical",
                             "Kind=logical\nOrder=a>b>a")
        self.assertEqual(told[5], '"b" came after "b"')

    def test_ping(self):
        self.check("serve:4711", "hang", "ping", "Kind=ping\nNode=/n\nInterval=100ms\n"
                   "Timeout=500ms\nStartDelay=500ms\nMaster=http://127.0.0.1:4711")

    def test_http(self):
        self.check("serve:4711", "status:500 serve:4711", "heartbeat",
                   "Kind=http\nUrl=http://127.0.0.1:4711/\nInterval=100ms\nStartDelay=500ms")

    def test_progress(self):
        self.check("sleep:50", "hang", "heartbeat", "Kind=progress\nWindow=1s")

    def test_only_reported(self):
        text = guarded(f"{MARKER} mark:a sleep:20 mark:b sleep:20 --fault mark:b sleep:20")
        self.boot({"n": text + "[Probe p]\nKind=logical\nOrder=a>b>a\nAction=report\n"})
        m = self.monitor()
        pid = self.bus.get("n", "MainPID")
        self.tw.kill(pid, signal.SIGUSR1)
        wait_for("NodeProbe", lambda: self.probe_signals(m, "failed"))
        self.assertEqual(self.stage("p"), "failed")
        self.assertEqual(m.failovers(), [])
        self.assertEqual(self.bus.get("n", "MainPID"), pid)

    def test_leak_is_restarted_cold(self):
        text = guarded(f"{MARKER} sleep:20 --fault open sleep:5")
        self.boot({"n": text + "[Probe p]\nKind=resource\nMaxDescriptors=50\nInterval=50ms\n"})
        m = self.monitor()
        pid = self.bus.get("n", "MainPID")
        self.bus.checkpoint("n")
        self.tw.kill(pid, signal.SIGUSR1)
        f = m.failover("n")
        self.assertEqual((f["cause"], f["result"]), ("resources", "cold-restart"), f)
        self.assertEqual(self.bus.get("n", "NRestarts"), 1)

    def test_another_node_may_not_speak(self):
        """A neighbour that has found the socket does not keep a dead node alive."""
        self.boot({"n": guarded(f"{MARKER} watchdog sleep:50 --fault hang", WatchdogSec="1s"),
                   "other": guarded(f"{MARKER} watchdog sleep:20",
                                    Environment="NOTIFY_SOCKET=/run/twinit/notify/n.sock")})
        m = self.monitor()
        pid = self.bus.get("n", "MainPID")
        self.bus.checkpoint("n")
        self.tw.kill(pid, signal.SIGUSR1)
        self.assert_swap(m.failover("n"), pid, "watchdog")


if __name__ == "__main__":
    main()
