# SPDX-License-Identifier: Apache-2.0
"""What a test of twinit begins with and must end with."""
import os
import shutil
import signal
import sys
import tempfile
import unittest

from . import sandbox
from .bus import CONFIG, Bus, Monitor, node_path
from .client import Client
from .daemon import NODES, ROOT, Twinit
from .unit import unit
from .waiting import wait_for

PYTHON = "/usr/bin/python3"


def script(name, *args):
    """The command line of one of our nodes."""
    return " ".join([PYTHON, "-B", f"{NODES}/{name}", *map(str, args)])


class Case(unittest.TestCase):
    """One twinit a test; tw is it, bus is what busctl sees of it."""
    maxDiff = None
    tw = bus = None

    def setUp(self):
        self.scratch = tempfile.mkdtemp(dir=sandbox.SCRATCH)
        os.chmod(self.scratch, 0o755)
        os.mkdir(f"{self.scratch}/bus")
        os.chmod(f"{self.scratch}/bus", 0o755)
        self.troubles_before = self.troubles()
        self.open = []  # what must be closed before twinit is stopped
        self.write("dbus.conf", CONFIG.replace("@POLICY@", self.policy()))

    def policy(self):
        """The file with twinit's own policy."""
        places = (f"{ROOT}/config/org.twinit1.conf", f"{ROOT}/supervisor/bus/org.twinit1.conf")
        return next(p for p in places if os.path.exists(p))

    def troubles(self):
        result = self._outcome.result
        return len(result.failures) + len(result.errors)

    def path(self, name):
        return f"{self.scratch}/{name}"

    def write(self, name, text, mode=0o644):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(self.path(name), mode)
        return self.path(name)

    def read(self, name):
        with open(self.path(name), encoding="utf-8") as f:
            return f.read()

    def dbus_command(self):
        return ("/usr/bin/dbus-daemon --nofork --nopidfile --nosyslog --config-file=" +
                self.path("dbus.conf"))

    def boot(self, units, *options, bus=True, **kw):
        """Start twinit upon these units (id -> text), with a bus daemon as one of them."""
        if bus:
            units = {"dbus": unit(self.dbus_command(), Restart="always"), **units}
        for name, text in units.items():
            self.write(f"units/{name}.ini", text)
        if not bus and "--no-bus" not in options and bus is not None:
            options = (*options, "--no-bus")
        self.tw = Twinit(self.scratch, options, **kw)
        self.bus = Bus(self.tw)
        if bus:
            self.tw.said("joined the bus")
        return self.tw

    def monitor(self):
        m = Monitor(self.tw)
        self.open.append(m)
        return m

    def client(self, address):
        """A connection to a node's counter; the node may still be on its way."""
        def connect():
            try:
                return Client(self.tw, address)
            except (FileNotFoundError, ConnectionRefusedError):
                return None
        c = wait_for(f"a listener at {address}", connect)
        self.open.append(c)
        return c

    def main_pid(self, node):
        """The pid of a node that runs, out of the log: works without a bus."""
        return int(self.tw.said(rf" {node}: started, process (\d+)")[1])

    def running(self, node):
        self.tw.said(rf"twinit\[\d+\]: {node}: running")

    def wait_state(self, node, active):
        return self.bus.wait(node, "ActiveState", active)

    def crash(self, node, sig=signal.SIGSEGV):
        """Kill the active; its pid before."""
        pid = self.bus.get(node, "MainPID")
        self.tw.kill(pid, sig)
        return pid

    def assert_swap(self, failover, pid, cause):
        """What NodeFailover has to say of a twin that took over."""
        self.assertEqual((failover["cause"], failover["result"]), (cause, "success"), failover)
        self.assertEqual((failover["old_pid"], failover["new_pid"]), (pid, pid), failover)
        self.assertGreater(failover["latency_usec"], 0)
        self.assertLess(failover["latency_usec"], 1_000_000)
        self.assertGreater(failover["rollback_usec"], 0)
        self.assertEqual(failover["path"], node_path(failover["node"]))

    def close_all(self):
        while self.open:
            self.open.pop().close()

    def tearDown(self):
        good = self.troubles() == self.troubles_before
        self.close_all()
        tw, status = self.tw, 0
        if tw and tw.pid:
            already = tw.process.poll()
            status = tw.stop() if already is None else 0
            tw.destroy()
        left = sandbox.others()
        if not good or status != 0 or left:
            for line in (tw.log.all if tw and tw.log else []):
                print("    |", line, file=sys.stderr)
        shutil.rmtree(self.scratch, ignore_errors=True)
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.assertEqual(status, 0, "twinit did not end well on SIGTERM")
        self.assertEqual(left, {}, "processes were left behind")


def main():
    if not sandbox.is_inside():
        sys.exit(sandbox.enter())
    sandbox.prepare()
    unittest.main(verbosity=2)
