# SPDX-License-Identifier: Apache-2.0
"""One series of crashes on one supervised graph, and what became of the graph each time."""
import signal
import subprocess
import time
from dataclasses import dataclass, field

import graph
from arrivals import Arrivals
from stage import Stage
from waiting import Overdue, reached, wait_for

UNITS = ("dbus-daemon", "rosmaster", "rosout", "lidar-source", "voxel-grid", "scan-sink")
FILTER, MASTER = "voxel-grid", "rosmaster"
GUARDED = ("rosmaster", "rosout", "lidar-source", "voxel-grid")
INTERVAL_NSEC = 1000000000  # of the units' checkpoints
STEADY = 5  # so many arrivals make a stream that runs again
START_SECONDS, RECOVERY_SECONDS, LATE_SECONDS = 30, 15, 5


@dataclass
class Crash:
    node: str
    failover: object = None  # Failover, or None where none was told
    same_pid: bool = False
    disturbance: object = None
    whole: bool = False  # all registrations are there, and the killed node answers
    problem: str = ""
    note: str = ""  # what the swap could not keep


@dataclass
class Series:
    name: str
    title: str
    twins: bool
    crashes: list = field(default_factory=list)
    registered_before: int = 0
    registered_after: int = 0
    late_node_hears: bool = False
    lost_elsewhere: int = 0
    wrong_clouds: int = 0
    problem: str = ""  # the series could not go on

    def whole(self):
        return not self.problem and self.late_node_hears and all(c.whole for c in self.crashes)


class Scenario:
    def __init__(self, series, build, say):
        self.series, self.say = series, say
        self.stage = Stage(series.name, build, UNITS, series.twins)
        self.supervision = self.stage.supervision
        self.arrivals = Arrivals(f"{self.stage.run}/scans")
        self.known = set()

    def start(self):
        began = time.monotonic()
        self.stage.start()
        wait_for("scans at the sink",
                 lambda: self.arrivals.update() and len(self.arrivals.all) > 2 * STEADY,
                 START_SECONDS)
        self.known = graph.registrations()
        self.series.registered_before = len(self.known)
        if self.series.twins:
            for node in GUARDED:
                self.wait_armed(node)
        armed = f", {len(GUARDED)} twins armed" if self.series.twins else ""
        self.say(f"  {len(graph.nodes(self.known))} ROS nodes, {len(self.known)} registrations, "
                 f"scans arrive{armed} ({time.monotonic() - began:.1f} s)")

    def wait_armed(self, node):
        wait_for(f"a twin of {node}", lambda: self.supervision.has_twin(node), START_SECONDS)

    def wait_settled(self, node, crashed):
        """Until the crash is an interval ago and, with twins, a checkpoint was taken since: so
        that the next crash is not one of a loop, and its phase counts from a checkpoint."""
        settled = crashed + INTERVAL_NSEC
        wait_for("an interval", lambda: time.monotonic_ns() > settled, START_SECONDS)
        if self.series.twins:
            wait_for(f"a checkpoint of {node}",
                     lambda: self.supervision.checkpoint_at(node) > settled, START_SECONDS)

    def crash(self, node, phase):
        """Kill node after phase seconds, watch until all is steady, and take stock."""
        time.sleep(phase)
        sv, crash = self.supervision, Crash(node)
        told, old_pid = len(sv.failovers), sv.main_pid(node)
        at = sv.kill(node, signal.SIGSEGV)
        try:
            wait_for(f"{node} running again", lambda: self.replaced(node, told, old_pid),
                     RECOVERY_SECONDS)
            if node == MASTER:
                wait_for("the master's answer", graph.answers, RECOVERY_SECONDS)
            wait_for("scans at the sink", lambda: self.steady(at), RECOVERY_SECONDS)
            self.wait_settled(node, at)
        except Overdue as e:
            crash.problem = str(e)
        crash.failover = sv.failover_of(node, told)
        crash.note = sv.failover_detail(node) if self.series.twins else ""
        crash.same_pid = sv.main_pid(node) == old_pid
        crash.disturbance = self.arrivals.disturbance(at, time.monotonic_ns())
        self.check_graph(crash)
        self.series.crashes.append(crash)
        return crash

    def replaced(self, node, told, old_pid):
        sv = self.supervision
        if self.series.twins:
            return sv.failover_of(node, told) is not None
        return sv.is_active(node) and sv.main_pid(node) not in (0, old_pid)

    def steady(self, since):
        """The last few scans came without a hole, and after the crash."""
        last = self.arrivals.since(since)[-STEADY:]
        return len(last) == STEADY and last[-1].scan - last[0].scan == STEADY - 1

    def check_graph(self, crash):
        try:
            missing = self.known - graph.registrations()
            if missing:
                crash.problem = crash.problem or f"{len(missing)} registrations are gone"
            if crash.node == FILTER:
                pid = graph.pid_of("/voxel_grid")
                if pid != self.supervision.main_pid(FILTER):
                    crash.problem = crash.problem or f"/voxel_grid says that its pid is {pid}"
        except OSError as e:
            crash.problem = crash.problem or str(e)
        crash.whole = not crash.problem

    def finish(self):
        """The last questions: what does the master know, and does a new node find the others?"""
        s = self.series
        try:
            s.registered_after = len(self.known & graph.registrations())
        except OSError:
            pass
        s.late_node_hears = self.late_node_hears()
        self.arrivals.update()
        s.lost_elsewhere = self.arrivals.lost() - sum(c.disturbance.lost for c in s.crashes)
        s.wrong_clouds = self.arrivals.wrong()

    def late_node_hears(self):
        late = Arrivals(f"{self.stage.run}/late-scans")
        node = self.stage.command([f"{self.stage.build}/tests/ros/scan_sink", late.path,
                                   "points:=/points_filtered", "__name:=late_sink"], "late.log")
        heard = reached(lambda: len(late.since(0)) >= STEADY, LATE_SECONDS)
        node.send_signal(signal.SIGINT)
        try:
            node.wait(LATE_SECONDS)
        except subprocess.TimeoutExpired:
            node.kill()
            node.wait()
        return heard
