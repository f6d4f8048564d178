#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""CPython's own tests.

Checked without swaps: of the modules about threads, sockets, subprocesses and signals, guarded,
the tests that fail, are skipped and run are the same as by itself. With swaps: modules that make
no children and leave nothing in files, run again and again, and all succeed.
"""
import re

from software import Software, main, several

PYTHON = "/usr/bin/python3"
# With what these are about in the first place; the rest of them is slow because it waits.
SHORT = {
    "test_threading": ("*.ThreadTests.*", "*.LockTests.*", "*.ConditionTests.*", "*.BarrierTests.*",
                       "*.EventTests.*", "*.TimerTests.*"),
    "test_socket": ("*.BasicTCPTest*.*", "*.BasicUDPTest*.*", "*.TCPTimeoutTest*.*",
                    "*.NonBlockingTCPTests*.*", "*.FileObject*.*", "*.RecvmsgTCPTest*.*",
                    "*.SendfileUsing*.*", "*.InterruptedRecv*.*", "*.InterruptedSend*.*"),
    "test_subprocess": ("*.ProcessTestCase.test_c*", "*.ProcessTestCase.test_p*",
                        "*.POSIXProcessTestCase.test_s*", "*.RunFuncTestCase.*"),
    "test_signal": ("*.PosixTests.*", "*.WakeupSignalTests.*", "*.ItimerTest.*",
                    "*.PendingSignalsTests.*"),
}
FULL = {**{name: () for name in SHORT}, "test_multiprocessing_spawn": (), "test_asyncio": (),
        "test_selectors": (), "test_epoll": (), "test_os": (), "test_io": ()}
UNDER_SWAPS = ["test_queue", "test_collections", "test_heapq", "test_struct", "test_generators",
               "test_re", "test_set", "test_json", "test_decimal", "test_itertools", "test_sort",
               "test_coroutines", "test_random", "test_thread"]


def results(text):
    """Test -> how it ended, out of what unittest says with -v."""
    found = {}
    for name, case, end in re.findall(
            r"^(\w+) \(([\w.]+)\)(?:\n[^\n]*?)?? \.\.\. (?:[^\n]*\n)*?[^\n]*?"
            r"\b(ok|FAIL|ERROR|skipped|expected failure|unexpected success)\b", text, re.M):
        found[f"{case}.{name}"] = end
    return found


class TestPython(Software):
    programs = (PYTHON,)

    def setUp(self):
        super().setUp()
        self.environment["PYTHONDONTWRITEBYTECODE"] = "1"

    def compare(self, module, patterns):
        argv = [PYTHON, "-m", "test", "-v", "-u", "network,cpu"]
        for p in patterns:
            argv += ["-m", p]
        argv.append(module)
        # Status 2: some of them failed, by itself as well.
        self.launch(argv, SuccessExitStatus="1 2 3 4 5", LimitCORE="0")
        status, said = self.alone(argv)
        self.begin()
        self.finish()
        self.assert_checkpoints(10)
        by_itself, guarded = results(said), results(self.output())
        self.assertGreater(len(by_itself), 10, said[-2000:])
        self.assertEqual(guarded, by_itself, self.output()[-5000:])
        self.assertEqual(self.bus.get(self.NODE, "ExecMainStatus"), status)

    def test_swaps(self):
        modules = several(UNDER_SWAPS[:6], UNDER_SWAPS)
        self.launch([PYTHON, "-m", "test", "-v", *modules], LimitCORE="0")
        self.begin()
        self.assertGreater(self.crashes(several(15, 300), 0.1), 10)
        self.finish()
        self.assertRegex(self.output(), r"Tests result: SUCCESS|Result: SUCCESS")


def add(module, patterns):
    setattr(TestPython, module, lambda self: self.compare(module, patterns))


for one, its in several(SHORT, FULL).items():
    add(one, its)

if __name__ == "__main__":
    main()
