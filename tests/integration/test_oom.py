#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A node that the OOM killer takes: told apart from any other SIGKILL, and its twin is spared."""
import os
import signal
import sys

sys.dont_write_bytecode = True
from harness import Case, guarded, main, script, unit, wait_for  # noqa: E402

MEMORY, UNIFIED = "/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified"


class Oom(Case):
    def start(self, make=guarded, **settings):
        self.address = f"unix:{self.path('s')}"
        self.boot({"n": make(script("counter.py", self.address),
                             **{"MemoryMax": "64M", **settings})})
        if self.tw.has_said("MemoryMax= has no effect"):
            self.skipTest("no memory controller here")
        self.m = self.monitor()
        self.pid = self.bus.get("n", "MainPID")
        return self.client(self.address)

    def groups(self, pid):
        return self.tw.proc(pid, "cgroup")

    def test_twin_takes_over(self):
        c = self.start()
        self.assertEqual(c.add(3), 3)
        self.bus.checkpoint("n")
        twins = self.bus.get("n", "PIDs", "Twin")
        self.assertEqual(self.groups(twins[0]), self.groups(self.pid))
        self.assertIn("/twinit/n", self.groups(self.pid))
        c.send("eat 100")
        f = self.m.failover("n")
        self.assert_swap(f, self.pid, "oom-kill")
        c2 = self.client(self.address)
        self.assertEqual(c2.add(), 4)
        self.assertIn("/twinit/n", self.groups(self.pid))
        # It counts once: the next SIGKILL is another's.
        self.bus.checkpoint("n")
        self.tw.kill(self.pid, signal.SIGKILL)
        self.assertEqual(self.m.failover("n", 1)["cause"], "signal")

    def test_without_a_twin(self):
        c = self.start(unit, Restart="no")
        c.send("eat 100")
        self.wait_state("n", "failed")
        self.assertEqual(self.bus.get("n", "Result"), "oom-kill")
        self.tw.said("process .* killed by the OOM killer")

    def test_twin_is_taken(self):
        """Without a limit of its own a twin is the first to go; that is not the node's end, and
        is not taken for it when the node is killed afterwards."""
        c = self.start(MemoryMax="infinity")
        c.ask("eat 40")
        self.bus.checkpoint("n")
        twin = self.bus.get("n", "PIDs", "Twin")[0]
        self.assertEqual(self.tw.proc(twin, "oom_score_adj").strip(), "1000")
        self.limit(10 * 2**20)
        c.ask("chew")
        self.tw.said(f"twin {twin} was killed by the OOM killer")
        self.assertEqual(self.bus.get("n", "MainPID"), self.pid)
        self.tw.kill(self.pid, signal.SIGKILL)
        self.assertEqual(self.m.failover("n")["cause"], "signal")

    def folder(self):
        """Of the group that counts."""
        found = [p.split(":", 2) for p in self.groups(self.pid).splitlines() if "/twinit/n" in p]
        paths = [(MEMORY if which == "memory" else UNIFIED) + group for _, which, group in found]
        return next(p for p in paths if os.path.exists(f"{p}/memory.oom_control") or
                    os.path.exists(f"{p}/memory.events"))

    def limit(self, more):
        """Let the node have as much more than it has."""
        folder = self.folder()
        v1 = os.path.exists(f"{folder}/memory.oom_control")
        used, limit = (("memory.usage_in_bytes", "memory.limit_in_bytes") if v1 else
                       ("memory.current", "memory.max"))
        with open(f"{folder}/{used}", encoding="ascii") as f:
            bytes_now = int(f.read())
        with open(f"{folder}/{limit}", "w", encoding="ascii") as f:
            f.write(str(bytes_now + more))

    def test_removed(self):
        """Nothing is left of it when the node is down."""
        self.start()
        folder = self.folder()
        self.bus.call("StopNode", "ss", "n", "replace")
        self.wait_state("n", "inactive")
        wait_for("its control group to go", lambda: not os.path.isdir(folder))


main()
