#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""bench overhead: what guarding a node costs, under the real twinit and keeper.

A node at work (tools/bench/node.c) is run by itself and then guarded at several intervals, at
several rates of writing to its memory. Printed are the CPU time of node, keeper and whatever the
keeper makes, the work that the node gets done without pauses, how late its 1 ms ticks are, and
the memory of node, twin and keeper together. Runs in namespaces of its own, as root.
"""
import argparse
import ctypes
import json
import mmap
import os
import struct
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "tests/integration"))
from harness import BUILD, Twinit, guarded, sandbox, unit, wait_for  # noqa: E402

NODE = f"{BUILD}/tools/bench/node"
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
HEAD, LATE_MAX = 56, 65536  # struct told in node.c
UNITS_A_SECOND = 20 * 1000  # what it does in ticks
SYS_KCMP, KCMP_VM = 312, 1  # kcmp(2); x86_64
LIBC = ctypes.CDLL(None, use_errno=True)
COLUMNS = (("write_percent", "write %/s", 10, 0), ("interval_ms", "interval ms", 12, 0),
           ("cpu_percent", "cpu %", 8, 2), ("over_percent", "over %", 8, 2),
           ("keeper_percent", "keeper %", 9, 2), ("checkpoints", "checkpoints", 12, 0),
           ("throughput_percent", "throughput %", 13, 1), ("late_p99_usec", "late p99", 9, 0),
           ("late_max_usec", "max", 7, 0), ("memory_mb", "memory MB", 10, 1),
           ("memory_over_percent", "over %", 7, 1))


def slurp(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()


class Told:
    """The file in which the node tells how far it is."""

    def __init__(self, path):
        size = HEAD + 4 * LATE_MAX
        wait_for("the node's file", lambda: os.path.exists(path) and
                 os.path.getsize(path) >= size)
        with open(path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), 0)
        wait_for("the node's first word", lambda: self.number(1) > 100)

    def number(self, i):
        return struct.unpack_from("<Q", self.map, 8 * i)[0]

    def mode(self, value):
        struct.pack_into("<Q", self.map, 0, value)

    def look(self):
        """(now, cpu) in seconds, and units, pages: all of one moment."""
        while True:
            before = self.number(1)
            now, cpu, units, pages = struct.unpack_from("<4Q", self.map, 16)
            if before % 2 == 0 and self.number(1) == before:
                return now / 1e9, cpu / 1e9, units, pages

    def n_late(self):
        return self.number(6)

    def late(self, since):
        n = self.n_late()
        ring = struct.unpack_from(f"<{LATE_MAX}I", self.map, HEAD)
        return sorted(ring[i % LATE_MAX] for i in range(max(since, n - LATE_MAX), n))


def cpu_of(pid):
    """Seconds of CPU: its own threads exactly, and by the tick those children that it reaped,
    which is where the end of an old twin and the taking down of its memory are accounted for."""
    own = 0
    for tid in os.listdir(f"/proc/{pid}/task"):
        own += int(slurp(f"/proc/{pid}/task/{tid}/schedstat").split()[0])
    fields = slurp(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()
    return own / 1e9 + (int(fields[13]) + int(fields[14])) / TICKS_A_SECOND


def pss(pid):
    for line in slurp(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0


def same_memory(a, b):
    return LIBC.syscall(SYS_KCMP, a, b, KCMP_VM, 0, 0) == 0


class Alone:
    """The node by itself, at the plain policy a guarded one has."""

    def __init__(self, scratch, command):
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def keeper_cpu(self):
        return 0

    def memory(self):
        return pss(self.process.pid)

    def checkpoints(self):
        return 0

    def close(self):
        self.process.kill()
        self.process.wait()


class Guarded:
    """The node under twinit; interval None: supervised, but without a twin."""

    def __init__(self, scratch, command, interval):
        os.makedirs(f"{scratch}/units", exist_ok=True)
        line = " ".join(command)
        text = unit(line) if interval is None else guarded(
            line, Interval=f"{interval}ms", QuietWindow="20ms")
        with open(f"{scratch}/units/n.ini", "w", encoding="ascii") as f:
            f.write(text)
        # Not a word of it goes through a pipe that this program would have to read meanwhile.
        self.log = open(f"{scratch}/log", "w", encoding="utf-8")
        self.tw = Twinit(scratch, ("--no-bus", "--log-level=debug"), stderr=self.log)
        self.scratch = scratch
        wait_for("the node", lambda: self.find("node"))
        self.keeper = self.find("twinit-keeper")[0]

    def find(self, name):
        return [p for p in self.tw.inside() if comm(p) == name]

    def keeper_cpu(self):
        return cpu_of(self.keeper)

    def memory(self):
        """The keeper holds helpers that share the node's memory: that counts once."""
        total, seen = 0, []
        for pid in self.tw.inside():
            try:
                if not any(same_memory(pid, other) for other in seen):
                    total += pss(pid)
                    seen.append(pid)
            except OSError:
                pass  # a twin that has just been replaced
        return total

    def checkpoints(self):
        return slurp(f"{self.scratch}/log").count(" armed: twin")

    def close(self):
        self.tw.stop()
        self.tw.destroy()
        self.log.close()


def comm(pid):
    try:
        return sandbox.comm(pid)
    except OSError:
        return None


def measure(options, write, make):
    """One run: ticks, then without pauses."""
    scratch = tempfile.mkdtemp(dir=sandbox.SCRATCH)
    told_path = f"{scratch}/told"
    pages = options.mb * 256 * write // 100
    command = [NODE, told_path, str(options.mb), str(options.threads), str(pages)]
    run = make(scratch, command)
    try:
        told = Told(told_path)
        time.sleep(0.5)  # the first twin comes 0.1 s after the start
        late, armed = told.n_late(), run.checkpoints()
        t0, cpu0, units0, _ = told.look()
        keeper0 = run.keeper_cpu()
        time.sleep(options.seconds)
        wait_for("a tick", lambda: told.look()[2] > units0)
        t1, cpu1, units1, _ = told.look()
        keeper1 = run.keeper_cpu()
        # By the work done: where others take the CPU, ticks are left out.
        result = {"node": 100 * (cpu1 - cpu0) / (units1 - units0) * UNITS_A_SECOND,
                  "keeper": 100 * (keeper1 - keeper0) / (t1 - t0),
                  "checkpoints": run.checkpoints() - armed}
        lates = told.late(late)
        result["late_p99"], result["late_max"] = lates[len(lates) * 99 // 100], lates[-1]
        # Spread over a second, for a twin costs nothing when it is new.
        looks = []
        for _ in range(8):
            looks.append(run.memory())
            time.sleep(0.13)
        result["memory"] = max(looks)
        told.mode(1)
        time.sleep(0.1)
        u0 = told.look()
        time.sleep(options.seconds / 2)
        wait_for("some work", lambda: told.look()[2] > u0[2])
        u1 = told.look()
        result["units"] = (u1[2] - u0[2]) / (u1[0] - u0[0])
    finally:
        run.close()
    return result


def row_of(write, interval, r, floor):
    total = r["node"] + r["keeper"]
    return {"write_percent": write, "interval_ms": interval, "cpu_percent": total,
            "over_percent": total - floor["node"], "keeper_percent": r["keeper"],
            "checkpoints": r["checkpoints"],
            "throughput_percent": 100 * r["units"] / floor["units"],
            "late_p99_usec": r["late_p99"], "late_max_usec": r["late_max"],
            "memory_mb": r["memory"],
            "memory_over_percent": 100 * (r["memory"] / floor["memory"] - 1)}


def show(row, what):
    cells = []
    for name, _, width, digits in COLUMNS:
        value = row[name]
        cells.append(f"{what if value is None else format(value, f'.{digits}f'):>{width}}")
    print("".join(cells), flush=True)


def facts(options):
    model = [x.split(":", 1)[1].strip() for x in slurp("/proc/cpuinfo").splitlines()
             if x.startswith("model name")] or ["unknown"]
    found = {"quick": options.quick, "cpu": f"{os.cpu_count()} x {model[0]}",
             "memory": slurp("/proc/meminfo").splitlines()[0].split(":", 1)[1].strip(),
             "kernel": " ".join((os.uname().sysname, os.uname().release)),
             "load before": " ".join(slurp("/proc/loadavg").split()[:3]),
             "node": f"{options.mb} MB, {options.threads} threads"}
    for name, value in found.items():
        if name != "quick":
            print(f"{name}: {value}")
    return found


def numbers(text):
    return [int(x) for x in text.split(",")]


def parse():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=(
        "cpu: of one core, node and keeper together, for all ticks; over: beyond the node alone. "
        "throughput: work done without pauses, against the node alone. late: how much later than "
        "asked for its ticks begin, microseconds. memory: node, twin and keeper, each page counted "
        "once, the most seen within a second. Rows: the node alone, supervised without a twin, with twins."))
    p.add_argument("--quick", action="store_true", help="fewer rows, shorter runs")
    p.add_argument("--json", metavar="FILE", help="the table, for programs")
    p.add_argument("--seconds", type=float, help="of a run in ticks (6); half as long without")
    p.add_argument("--mb", type=int, default=100, help="memory of the node, MiB (100)")
    p.add_argument("--threads", type=int, default=4, help="its threads (4)")
    p.add_argument("--intervals", type=numbers, help="milliseconds (10,100,1000,5000)")
    p.add_argument("--writes", type=numbers, help="percent of its memory a second (0,10,50)")
    o = p.parse_args()
    o.seconds = o.seconds or (2 if o.quick else 6)
    o.intervals = o.intervals or ([100, 1000] if o.quick else [10, 100, 1000, 5000])
    o.writes = o.writes or ([10] if o.quick else [0, 10, 50])
    return o


def bench(options):
    rows = []
    print("bench overhead")
    found = facts(options)
    print("".join(f"{head:>{width}}" for _, head, width, _ in COLUMNS))
    for write in options.writes:
        floor = measure(options, write, Alone)
        rows.append(row_of(write, None, floor, floor))
        show(rows[-1], "alone")
        for interval in [None, *options.intervals]:
            r = measure(options, write, lambda s, c, i=interval: Guarded(s, c, i))
            rows.append(row_of(write, interval, r, floor))
            if interval is None:
                rows[-1]["twin"] = False
            show(rows[-1], "no twin")
    if options.json:
        with open(options.json, "w", encoding="ascii") as f:
            json.dump({"bench": "overhead", "facts": found, "rows": rows}, f, indent=1)


def main():
    options = parse()
    if not sandbox.is_inside():
        sys.exit(sandbox.enter())
    sandbox.prepare()
    bench(options)


if __name__ == "__main__":
    main()
