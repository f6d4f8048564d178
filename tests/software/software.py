# SPDX-License-Identifier: Apache-2.0
"""Programs that we did not write, guarded by the real twinit with a checkpoint every 20 ms.

Each is run by itself first, in the same namespaces, then guarded, then guarded and killed at
random moments. Guarded, its results must be those of the run by itself; killed, it must keep its
pid and go on, and its results must still hold: each test says which.

SOFTWARE=full runs longer and kills more often than the short version, which is for make check.
SOFTWARE_SEED=N repeats the random moments of a run.
"""
import os
import random
import shutil
import signal
import sys
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "integration"))
from harness import Case, children, end_inside, guarded, main, status_field, wait_for  # noqa: E402

FULL = os.environ.get("SOFTWARE", "short") == "full"
SEED = int(os.environ.get("SOFTWARE_SEED", time.time_ns() % 1_000_000))
INTERVAL = "20ms"
# What a user would kill it with, the machine, and the program itself.
SIGNALS = (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT)
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
               "HOME": "/root", "LC_ALL": "C.UTF-8"}
__all__ = ["Batch", "ENVIRONMENT", "FULL", "HERE", "Software", "children", "end_inside", "main",
           "several", "status_field", "wait_for"]


def several(short, full):
    return full if FULL else short


class Software(Case):
    programs = ()  # without these, the test is skipped
    NODE = "n"

    def setUp(self):
        for program in self.programs:
            if not shutil.which(program, path=ENVIRONMENT["PATH"]):
                self.skipTest(f"{program} is not installed")
        super().setUp()
        os.mkdir(self.path("work"))
        self.random = random.Random(SEED)
        self.environment = {**ENVIRONMENT, "TMPDIR": self.path("work")}
        print(f"(seed {SEED}) ", end="", file=sys.stderr, flush=True)

    def launch(self, argv, **settings):
        """twinit with a node that is not started yet, and a monitor."""
        environment = [f"{k}={v}" for k, v in self.environment.items()]
        self.boot({self.NODE: guarded(" ".join(argv), **{
            "Interval": INTERVAL, "QuietWindow": INTERVAL, "StableSec": "1ms", "Restart": "no",
            "WorkingDirectory": self.path("work"), "Environment": environment,
            "StandardOutput": f"file:{self.path('output')}", "WantedBy": None, **settings})})
        self.m = self.monitor()

    def alone(self, argv, limit=600):
        """The same command by itself, in the same namespaces: its exit status, its output."""
        environment = [f"{k}={v}" for k, v in self.environment.items()]
        r = self.tw.run("env", "-i", "-C", self.path("work"), *environment, *argv, limit=limit)
        return r.returncode, r.stdout + r.stderr

    def begin(self):
        """Start the node; its pid."""
        self.bus.call("StartNode", "ss", self.NODE, "replace")
        self.seen = len(self.m.failovers(self.NODE))
        self.pid = self.bus.wait(self.NODE, "MainPID", lambda pid: pid > 0)
        return self.pid

    def is_over(self):
        return self.bus.get(self.NODE, "ActiveState") in ("inactive", "failed")

    def finish(self, limit=600):
        """Until it has ended by itself, as it should."""
        wait_for("the program's end", self.is_over, limit, step=0.2)
        self.assertEqual(self.m.failovers(self.NODE)[self.seen:], [], "it fell by itself")
        self.assertEqual(self.bus.get(self.NODE, "Result"), "success", self.output()[-2000:])

    def output(self):
        return self.read("output") if os.path.exists(self.path("output")) else ""

    def checkpoints(self):
        return self.bus.get(self.NODE, "NCheckpoints", "Twin")

    def assert_checkpoints(self, least=3):
        """That it was not left alone: else nothing was tested."""
        self.assertGreater(self.checkpoints(), least,
                           self.bus.get(self.NODE, "SkipReason", "Twin"))

    def new_twin(self):
        """Wait for a checkpoint from now; false where the program ended first."""
        before = self.checkpoints()
        return wait_for("a twin", lambda: self.is_over() and "over" or
                        self.checkpoints() > before and "armed", step=0.02) == "armed"

    def crash_once(self):
        """Kill it; the failover, or None where it had ended."""
        n, sig = len(self.m.failovers(self.NODE)), self.random.choice(SIGNALS)
        self.killed_at = time.monotonic()
        try:
            self.tw.kill(self.pid, sig)
        except ProcessLookupError:
            return None
        wait_for("a failover", lambda: len(self.m.failovers(self.NODE)) > n or self.is_over(),
                 step=0.2)
        failovers = self.m.failovers(self.NODE)
        if len(failovers) == n:
            return None
        self.assert_swap(failovers[n], self.pid, "signal")
        self.seen = n + 1
        return failovers[n]

    def crashes(self, n, most=0.2):
        """Kill it n times at random moments, or until it has ended; how often."""
        done = 0
        while done < n and self.new_twin():
            time.sleep(self.random.uniform(0, most))
            if not self.crash_once():
                break
            done += 1
        return done


class Batch(Software):
    """A program of ours for a machine that is not: it writes a line a round to a file, the same in
    every run, and a last one. Run by itself, guarded, and killed."""
    rounds = several(40, 600)
    swaps = several(6, 100)
    pause = 0.2

    def command(self, result):
        raise NotImplementedError

    def prepare(self):
        argv = self.command(self.path("work/result"))
        self.launch(argv)
        status, said = self.alone(argv)
        self.assertEqual(status, 0, said)
        expected = self.read("work/result")
        self.assertEqual(len(expected.splitlines()), self.rounds + 1, said)
        self.tw.run("rm", self.path("work/result"))
        return expected

    def check(self, expected):
        self.finish()
        self.assertEqual(self.read("work/result"), expected)

    def results(self):
        expected = self.prepare()
        self.begin()
        self.check(expected)
        self.assert_checkpoints()

    def results_with_swaps(self):
        expected = self.prepare()
        self.begin()
        self.assertGreater(self.crashes(self.swaps, self.pause), self.swaps // 2)
        self.check(expected)
