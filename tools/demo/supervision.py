# SPDX-License-Identifier: Apache-2.0
"""twinit as first process of a pid namespace, and what it says on the bus."""
import json
import os
import signal
import subprocess
import threading
import time
from collections import namedtuple

import namespaces
from waiting import reached, wait_for

NAME = "org.twinit1"
ROOT = "/org/twinit1"
MANAGER, NODE, TWIN = NAME + ".Manager", NAME + ".Node", NAME + ".Twin"
START_SECONDS, STOP_SECONDS = 20, 15

# The arguments of the signal NodeFailover.
Failover = namedtuple("Failover", "node path cause result old_pid new_pid latency_usec "
                                  "rollback_usec generation")


def node_path(node):
    """sd_bus_path_encode(3)"""
    plain = "".join(c if c.isascii() and c.isalnum() and not (c.isdigit() and i == 0)
                    else f"_{ord(c):02x}" for i, c in enumerate(node))
    return f"{ROOT}/node/{plain}"


class Supervision:
    def __init__(self, build, unit_path, runtime_dir, bus_socket, log_path):
        self.address = "unix:path=" + bus_socket
        self.bus_socket = bus_socket
        self.failovers = []
        self._command = [f"{build}/twinit", f"--unit-path={unit_path}",
                         f"--runtime-dir={runtime_dir}", f"--state-dir={runtime_dir}/state",
                         f"--bus-address={self.address}"]
        self._log_path = log_path
        self._outer = self._monitor = None

    def start(self):
        """Start twinit; return when it has joined the bus that it started."""
        with open(self._log_path, "ab") as log:
            self._outer = subprocess.Popen(
                ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *self._command],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        wait_for("the message bus", lambda: self.ended() or os.path.exists(self.bus_socket),
                 START_SECONDS)
        wait_for("twinit on the bus", lambda: self.ended() or self._on_bus(), START_SECONDS)
        if self.ended():
            raise OSError(f"twinit ended with status {self._outer.returncode}")
        self._listen()

    def ended(self):
        return self._outer.poll() is not None

    def stop(self):
        """SIGTERM, an orderly shutdown, and SIGKILL where that takes too long."""
        if self._monitor:
            self._monitor.kill()
            self._monitor.wait()
        if not self._outer or self.ended():
            return True
        for pid in namespaces.children(self._outer.pid):
            os.kill(pid, signal.SIGTERM)
        orderly = reached(self.ended, STOP_SECONDS)
        if not orderly:
            self._outer.kill()
        self._outer.wait()
        return orderly

    def main_pid(self, node):
        return self._property(node_path(node), NODE, "MainPID") or 0

    def is_active(self, node):
        return self._property(node_path(node), NODE, "ActiveState") == "active"

    def has_twin(self, node):
        return self._property(node_path(node), TWIN, "State") == "armed"

    def checkpoint_at(self, node):
        """When the newest twin was made (monotonic, ns); 0 before the first."""
        usec = self._property(node_path(node), TWIN, "CheckpointTimestampMonotonic") or 0
        return usec * 1000

    def failover_detail(self, node):
        """What the last swap could not keep, or why there was none; "" when all is well."""
        return self._property(node_path(node), TWIN, "LastFailoverDetail") or ""

    def kill(self, node, signum):
        """Kill the node's process from outside of all this; the time (monotonic, ns)."""
        pid = namespaces.pid_here(self.main_pid(node))
        at = time.monotonic_ns()
        os.kill(pid, signum)
        return at

    def failover_of(self, node, after):
        """The first failover told for node, beyond the first `after` ones of all."""
        return next((f for f in self.failovers[after:] if f.node == node), None)

    def _on_bus(self):
        return self._property(ROOT, MANAGER, "SystemState") is not None

    def _property(self, path, interface, name):
        run = subprocess.run(["busctl", "--address=" + self.address, "--json=short",
                              "get-property", NAME, path, interface, name],
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
        return json.loads(run.stdout)["data"] if run.returncode == 0 else None

    def _listen(self):
        self._monitor = subprocess.Popen(
            ["busctl", "--address=" + self.address, "--json=short", "monitor",
             f"--match=type='signal',interface='{MANAGER}',member='NodeFailover'"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._monitor.stderr.read(1)  # its greeting: it listens
        threading.Thread(target=self._hear, args=(self._monitor.stdout,), daemon=True).start()

    def _hear(self, lines):
        for line in lines:
            message = json.loads(line)
            if message.get("member") == "NodeFailover":
                self.failovers.append(Failover(*message["payload"]["data"]))
