# SPDX-License-Identifier: Apache-2.0
"""The bus as an operator sees it: busctl, with its JSON read back, and busctl monitor."""
import json
import subprocess

from .daemon import end_inside
from .waiting import Lines, wait_for

NAME = "org.twinit1"
PATH = "/org/twinit1"
FAILOVER_FIELDS = ("node", "path", "cause", "result", "old_pid", "new_pid", "latency_usec",
                   "rollback_usec", "generation")

# As the system bus: nobody may own a name or call anything until a policy says so.
CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
    <deny send_destination="org.freedesktop.DBus"
          send_interface="org.freedesktop.DBus.Monitoring"/>
  </policy>
  <policy user="root">
    <allow send_destination="org.freedesktop.DBus"
           send_interface="org.freedesktop.DBus.Monitoring"/>
  </policy>
  <include>@POLICY@</include>
</busconfig>
"""


class BusError(Exception):
    """busctl failed; what it said."""


class Monitor:
    """busctl monitor: every message of twinit from here on."""

    def __init__(self, twinit):
        self.process = twinit.spawn("busctl", "--json=short", "monitor", NAME,
                                    stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.errors = Lines(self.process.stderr)
        self.messages = Lines(self.process.stdout, json.loads)
        self.errors.wait("busctl monitor", lambda x: "Monitoring" in x)

    def signals(self, member, path=None):
        return self.messages.find(lambda m: m.get("type") == "signal" and
                                  m.get("member") == member and path in (None, m["path"]))

    def failovers(self, node=None):
        found = [dict(zip(FAILOVER_FIELDS, m["payload"]["data"]))
                 for m in self.signals("NodeFailover")]
        return [f for f in found if node in (None, f["node"])]

    def failover(self, node, nth=0):
        """Wait for the nth failover of a node."""
        return wait_for(f"NodeFailover of {node}", lambda: self.failovers(node)[nth:nth + 1],
                        step=1)[0]

    def changes(self, path, interface, name):
        """The values that PropertiesChanged gave."""
        return [m["payload"]["data"][1][name]["data"]
                for m in self.signals("PropertiesChanged", path)
                if m["payload"]["data"][0] == interface and name in m["payload"]["data"][1]]

    def close(self):
        end_inside(self.process)
        self.messages.join()
        self.errors.join()


class Bus:
    def __init__(self, twinit):
        self.twinit = twinit

    def busctl(self, *args, user=None):
        r = self.twinit.run("busctl", "--json=short", *args, user=user)
        if r.returncode != 0:
            raise BusError(r.stderr.strip())
        return json.loads(r.stdout)["data"] if r.stdout.strip() else None

    def is_joined(self):
        return self.twinit.run("busctl", "status", NAME).returncode == 0

    def call(self, method, *args, user=None):
        out = self.busctl("call", NAME, PATH, "org.twinit1.Manager", method, *args, user=user)
        return out

    def get(self, node, prop, interface="Node"):
        return self.busctl("get-property", NAME, node_path(node), f"org.twinit1.{interface}",
                           prop)

    def manager(self, prop):
        return self.busctl("get-property", NAME, PATH, "org.twinit1.Manager", prop)

    def all(self, node, interface="Node"):
        data = self.busctl("call", NAME, node_path(node), "org.freedesktop.DBus.Properties",
                           "GetAll", "s", f"org.twinit1.{interface}")[0]
        return {k: v["data"] for k, v in data.items()}

    def wait(self, node, prop, wanted, interface="Node"):
        """Until a property has this value, or is in this range of values; the value."""
        good = wanted if callable(wanted) else lambda value: value == wanted

        def look():
            value = self.get(node, prop, interface)
            return (value,) if good(value) else None
        return wait_for(f"{node}: {prop}", look, step=0.1)[0]

    def wait_manager(self, prop, wanted):
        wait_for(prop, lambda: self.manager(prop) == wanted, step=0.1)

    def checkpoint(self, node):
        """A twin made now: the call returns when it is armed."""
        def attempt():
            try:
                self.call("CheckpointNode", "s", node)
            except BusError as e:
                # On a busy machine a thread may not get the CPU to stop.
                if "did not stop in time" not in str(e):
                    raise
                return False
            return True
        wait_for(f"a checkpoint of {node}", attempt)


def node_path(node):
    """sd_bus_path_encode(3)."""
    def escape(i, c):
        plain = c.isascii() and (c.isalpha() or (c.isdigit() and i > 0))
        return c if plain else "".join(f"_{b:02x}" for b in c.encode())
    return f"{PATH}/node/" + ("".join(escape(i, c) for i, c in enumerate(node)) or "_")
