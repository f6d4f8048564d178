#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A thread that ends while its process goes on: counted, told, or made up for, as the unit says."""
import sys

sys.dont_write_bytecode = True
from harness import Case, guarded, main, script  # noqa: E402


class ThreadEnd(Case):
    def start(self, **settings):
        address = f"unix:{self.path('s')}"
        self.boot({"n": guarded(script("counter.py", address, "--threads=3"), **settings)})
        self.m = self.monitor()
        self.pid = self.bus.get("n", "MainPID")
        self.c = self.client(address)
        self.bus.checkpoint("n")
        return self.c

    def ended(self, n):
        self.bus.wait("n", "NThreadsEnded", n, "Twin")

    def test_counted(self):
        c = self.start()
        c.ask("leave")
        self.ended(1)
        c.ask("leave")
        self.ended(2)
        self.assertEqual(self.tw.has_said("has ended"), [])
        self.assertEqual(self.m.failovers("n"), [])
        self.assertEqual(self.bus.get("n", "MainPID"), self.pid)

    def test_told(self):
        self.start(OnThreadExit="log").ask("leave")
        self.tw.said(r"n: thread \d+ \(.*\) has ended, the others go on")
        self.assertEqual(self.m.failovers("n"), [])

    def test_made_up_for(self):
        c = self.start(OnThreadExit="failover")
        tids = self.tw.tids(self.pid)
        c.ask("leave")
        self.assert_swap(self.m.failover("n"), self.pid, "thread-exit")
        self.assertEqual(self.tw.tids(self.pid), tids)
        self.assertEqual(c.count(), 0)
        self.assertIn("thread-exit, seen 1 time", self.bus.get("n", "LastFailoverFault", "Twin"))

    def test_end_of_the_process(self):
        """Its threads end with it; that is no failure of theirs."""
        self.start(OnThreadExit="failover").send("exit 0")
        self.wait_state("n", "inactive")
        self.assertEqual(self.bus.get("n", "Result"), "success")
        self.assertEqual(self.m.failovers("n"), [])
        self.assertEqual(self.tw.has_said("ended, the"), [])

    def test_not_in_the_twin(self):
        """What came after the checkpoint comes and goes as it likes."""
        address = f"unix:{self.path('s')}"
        self.boot({"n": guarded(script("counter.py", address, "--children"),
                                OnThreadExit="failover")})
        m, c = self.monitor(), self.client(address)
        self.bus.checkpoint("n")
        before = int(c.ask("children"))
        while int(c.ask("children")) < before + 20:
            pass
        self.assertEqual(m.failovers("n"), [])


main()
