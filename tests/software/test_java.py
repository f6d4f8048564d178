#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A JVM: Work.java, with each of its collectors.

Checked, without swaps and with: each round checks itself, and all results are those of the run by
itself. SIGSEGV from outside is handled by the JVM: it writes a report and aborts, which is when the
twin takes over.
"""
import subprocess

from software import HERE, Batch, main, several

JAVA = "/usr/bin/java"
COLLECTORS = several(("G1",), ("G1", "Serial", "Parallel", "Z", "Shenandoah"))


class TestJava(Batch):
    programs = ("java", "javac")
    collector = "G1"

    def command(self, result):
        return [JAVA, "-Xmx256m", f"-XX:+Use{self.collector}GC", "-cp", self.path("work"),
                f"-XX:ErrorFile={self.path('work')}/report", "Work", result, str(self.rounds)]

    def prepare(self):
        status, said = self.compiled()
        self.assertEqual(status, 0, said)
        return super().prepare()

    def compiled(self):
        r = subprocess.run(["javac", "-d", self.path("work"), f"{HERE}/Work.java"], text=True,
                           capture_output=True, check=False)
        return r.returncode, r.stdout + r.stderr


def add(collector):
    def results(self):
        self.collector = collector
        self.results()

    def results_with_swaps(self):
        self.collector = collector
        self.results_with_swaps()
    setattr(TestJava, f"test_{collector}", results)
    setattr(TestJava, f"test_{collector}_swaps", results_with_swaps)


for one in COLLECTORS:
    add(one)

if __name__ == "__main__":
    main()
