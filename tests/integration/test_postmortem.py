#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What is told of the dead: back traces, records, core files."""
import json
import os
import re
import signal
import stat
import sys

sys.dont_write_bytecode = True
from harness import Case, guarded, main, script, wait_for  # noqa: E402
from harness.daemon import BUILD  # noqa: E402


class Records(Case):
    def counting(self, *options, **settings):
        address = f"unix:{self.path('s')}"
        self.boot({"n": guarded(script("counter.py", address, *options), **settings)})
        self.pid = self.bus.get("n", "MainPID")
        return self.client(address)

    def twinctl(self, *args):
        out = self.tw.run(f"{BUILD}/twinctl", f"--state-dir={self.path('state')}", *args)
        self.assertEqual(out.returncode, 0, out.stderr)
        return out.stdout

    def record(self, other_than=""):
        return wait_for("a crash record", lambda: (
            lambda name: name if name != other_than else None)(self.bus.get("n", "LastCrash")))

    def test_the_dead_is_told(self):
        c = self.counting("--threads=3", CoreDump="yes")
        self.bus.checkpoint("n")
        c.send(f"signal {signal.SIGSEGV:d}")
        name = self.record()
        self.assertEqual(c.add(), 1)
        text = self.twinctl("crash", "show", "n")
        self.assertEqual(self.twinctl("crash", "show", name), text)
        head = dict(line.split("=", 1) for line in text.split("\n\n")[0].splitlines())
        self.assertEqual((head["NODE"], head["PID"], head["CAUSE"], head["OUTCOME"]),
                         ("n", str(self.pid), "signal", "swapped"))
        self.assertIn("SIGSEGV", head["SIGNAL"])
        traces = re.findall(r"^thread (\d+) .*?((?:\n  #.*)+)", text, re.M)
        self.assertEqual({int(tid) for tid, _ in traces}, self.tw.tids(self.pid))
        # The one at fault is first, and was in the call that it made, far down in Python.
        self.assertEqual(int(traces[0][0]), self.pid)
        self.assertRegex(traces[0][1].split("\n")[1], "kill")
        self.assertIn("main", traces[0][1])
        for _, frames in traces:
            self.assertGreater(frames.count("\n"), 3, text)
        self.assertRegex(text, r"registers of thread \d+ .*\n  \w+ +0x[0-9a-f]{16}")
        mode = os.stat(f"{self.path('state')}/crash/{name}").st_mode
        self.assertEqual(stat.S_IMODE(mode), 0o600)
        self.check_core(name.replace(".crash", ".core"), len(traces))

    def check_core(self, name, n_threads):
        notes = self.tw.run("/usr/bin/readelf", "--wide", "--notes", "--headers",
                            f"{self.path('state')}/crash/{name}").stdout
        self.assertIn("CORE (Core file)", notes)
        self.assertEqual(notes.count("NT_PRSTATUS"), n_threads)
        self.assertIn("NT_FILE", notes)
        self.assertGreater(notes.count(" LOAD "), 10)

    def test_list_and_log(self):
        c = self.counting(StableSec="0", Generations=2)
        self.bus.checkpoint("n")
        c.send(f"signal {signal.SIGABRT:d}")
        first = self.record()
        self.bus.checkpoint("n")
        c.send(f"signal {signal.SIGSEGV:d}")
        second = self.record(first)
        listed = json.loads(self.twinctl("--json", "crash", "list"))
        self.assertEqual([r["record"] for r in listed], [first, second])
        self.assertTrue(all(r["outcome"] == "swapped" for r in listed))
        self.assertEqual(json.loads(self.twinctl("--json", "crash", "list", "other")), [])
        log = self.twinctl("log", "n")
        self.assertIn("SIGABRT", log)
        self.assertIn("(at fault)", log)

    def test_killed_from_outside(self):
        """SIGKILL leaves no registers; the record says so much."""
        self.counting()
        self.bus.checkpoint("n")
        self.tw.kill(self.pid, signal.SIGKILL)
        text = (self.record(), self.twinctl("crash", "show", "n"))[1]
        self.assertIn("SIGKILL", text)

    def test_cold(self):
        """A node without a usable twin is told as well, if one was ever made."""
        c = self.counting(Generations=1)
        self.bus.checkpoint("n")
        self.bus.call("DropTwin", "s", "n")
        c.send(f"signal {signal.SIGSEGV:d}")
        self.record()
        text = self.twinctl("crash", "show", "n")
        self.assertIn("OUTCOME=cold-restart", text)
        self.assertIn("(at fault)", text)

    def test_none_wanted(self):
        c = self.counting(PostMortem="no", StableSec="0")
        monitor = self.monitor()
        self.bus.checkpoint("n")
        c.send(f"signal {signal.SIGSEGV:d}")
        self.assertEqual(monitor.failover("n")["result"], "success")
        self.bus.checkpoint("n")
        c.send(f"signal {signal.SIGSEGV:d}")
        self.assertEqual(monitor.failover("n", 1)["result"], "success")
        self.assertEqual(self.bus.get("n", "LastCrash"), "")


if __name__ == "__main__":
    main()
