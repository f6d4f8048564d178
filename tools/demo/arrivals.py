# SPDX-License-Identifier: Apache-2.0
"""What scan_sink wrote: arrivals of numbered scans, and the holes in them."""
from collections import namedtuple

SCENES = 8  # lidar_source: scan n is the same cloud as scan n + 8

Arrival = namedtuple("Arrival", "nsec scan seq points")
Disturbance = namedtuple("Disturbance", "lost repeated gap_nsec steps_back")


class Arrivals:
    def __init__(self, path):
        self.path = path
        self.all = []
        self._offset = 0

    def update(self):
        """Read what is new; True once anything has arrived at all."""
        try:
            with open(self.path, encoding="ascii") as f:
                f.seek(self._offset)
                for line in f.readlines():
                    if not line.endswith("\n"):
                        break
                    self._offset += len(line)
                    self.all.append(Arrival(*map(int, line.split())))
        except FileNotFoundError:
            pass
        return bool(self.all)

    def since(self, nsec):
        self.update()
        return [a for a in self.all if a.nsec > nsec]

    def disturbance(self, start, end):
        """Around a crash at start, until end: scans that never arrived, scans that came again,
        the longest time without an arrival, and how far the publisher's counter fell back."""
        before = [a for a in self.all if a.nsec <= start]
        during = [a for a in self.all if start < a.nsec <= end]
        seen = {a.scan for a in self.all}
        first = max(a.scan for a in before) + 1
        last = max((a.scan for a in during), default=first - 1)
        lost = sum(n not in seen for n in range(first, last + 1))
        known = {a.scan for a in before}
        repeated = 0
        for a in during:
            repeated += a.scan in known
            known.add(a.scan)
        counter = [a.seq for a in (before[-1], *during)]
        steps_back = max((a + 1 - b for a, b in zip(counter, counter[1:])), default=0)
        times = [before[-1].nsec, *(a.nsec for a in during)]
        gap = max((b - a for a, b in zip(times, times[1:])), default=end - start)
        return Disturbance(lost, repeated, gap, max(0, steps_back))

    def lost(self):
        """Scans missing between the first and the last that arrived."""
        seen = {a.scan for a in self.all}
        return max(seen) - min(seen) + 1 - len(seen)

    def wrong(self):
        """Clouds that are not what the same scene was before: damaged on their way."""
        points = {}
        return sum(points.setdefault(a.scan % SCENES, a.points) != a.points for a in self.all)
