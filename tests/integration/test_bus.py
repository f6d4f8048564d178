#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The bus as an operator types it: busctl against the running daemon."""
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

sys.dont_write_bytecode = True
from harness import (ROOT, BusError, Case, Lines, end_inside, guarded, main,  # noqa: E402
                     node_path, script, unit, wait_for)

SLEEP = "/bin/sleep infinity"
NOBODY = 65534


class Graph(Case):
    """A bus, two nodes and one with a name that needs escaping."""

    def setUp(self):
        super().setUp()
        self.address = f"unix:{self.path('s')}"
        self.boot({"n": guarded(script("counter.py", self.address), Description="Counts"),
                   "idle": guarded(SLEEP, WantedBy=None, Description="Idle"),
                   "a-b_c.1@x": unit(SLEEP)})
        self.running("n")

    def busctl(self, *args, **kw):
        r = self.tw.run("busctl", *args, **kw)
        self.assertEqual((r.returncode, r.stderr), (0, ""), args)
        return r.stdout

    def call(self, method, *args):
        return self.busctl("call", "org.twinit1", "/org/twinit1", "org.twinit1.Manager", method,
                           *args)

    def refused(self, error, *args, user=None):
        """A call must fail, and with this error."""
        got = self.error_name(*args, user=user)
        self.assertEqual(got, error, args)

    def error_name(self, method, *args, user=None):
        """busctl says the sentence, dbus-send the name."""
        words = [f"string:{a}" if not isinstance(a, tuple) else f"{a[0]}:{a[1]}" for a in args]
        r = self.tw.run("dbus-send", "--system", "--print-reply", "--dest=org.twinit1",
                        "/org/twinit1", f"org.twinit1.Manager.{method}", *words, user=user)
        self.sentence = r.stderr
        return r.stderr.split(":")[0].removeprefix("Error ") if r.returncode else None


class Reading(Graph):
    def test_tree(self):
        out = self.busctl("tree", "org.twinit1")
        for path in ("/org/twinit1", "/org/twinit1/node", node_path("n"), node_path("idle"),
                     node_path("a-b_c.1@x")):
            self.assertRegex(out, rf"{path}\n")

    def test_list_names(self):
        self.assertIn("org.twinit1", self.busctl("list"))

    def test_get_property(self):
        get = ("get-property", "org.twinit1")
        self.assertEqual(self.busctl(*get, "/org/twinit1", "org.twinit1.Manager",
                                     "SystemState"), 's "running"\n')
        self.assertEqual(self.busctl(*get, node_path("n"), "org.twinit1.Node", "Description",
                                     "ActiveState"), 's "Counts"\ns "active"\n')
        self.assertEqual(self.busctl(*get, node_path("n"), "org.twinit1.Twin", "IntervalUSec"),
                         "t 3600000000\n")

    def test_manager_properties(self):
        self.assertEqual(self.bus.manager("NNodes"), 4)
        self.assertEqual(self.bus.manager("NFailedNodes"), 0)
        self.assertRegex(self.bus.manager("Version"), r"^\d+\.\d+\.\d+$")
        self.assertEqual(self.bus.manager("UnitPath"), [self.path("units")])
        self.assertEqual(self.bus.manager("LogLevel"), "info")
        self.assertGreaterEqual(self.bus.manager("FinishTimestamp"),
                                self.bus.manager("UserspaceTimestamp"))

    def test_list_nodes(self):
        nodes = {n[0]: n for n in self.bus.call("ListNodes")[0]}
        self.assertEqual(list(nodes), sorted(nodes))
        self.assertEqual(set(nodes), {"dbus", "n", "idle", "a-b_c.1@x"})
        pid = self.bus.get("n", "MainPID")
        self.assertEqual(nodes["n"], ["n", "Counts", "loaded", "active", "running",
                                      node_path("n"), pid, 0, "/"])
        self.assertEqual(nodes["idle"][3:], ["inactive", "dead", node_path("idle"), 0, 0, "/"])
        self.assertTrue(self.call("ListNodes").startswith('a(sssssouuo) 4 "a-b_c.1@x" '))

    def test_get_node(self):
        self.assertEqual(self.call("GetNode", "s", "n"), f'o "{node_path("n")}"\n')
        self.assertEqual(self.call("GetNode", "s", "a-b_c.1@x"),
                         'o "/org/twinit1/node/a_2db_5fc_2e1_40x"\n')

    def test_introspect(self):
        out = self.busctl("introspect", "org.twinit1", node_path("n"))
        self.assertRegex(out, r"\.MainPID +property +u +\d+ +emits-change")
        out = self.busctl("introspect", "org.twinit1", "/org/twinit1")
        self.assertRegex(out, r"\.ListNodes +method +- +a\(sssssouuo\)")
        self.assertRegex(out, r"\.NodeFailover +signal +sossuuttu")

    def test_no_such_object(self):
        for path in ("/org/twinit1/node/nix", "/org/twinit1/job/1", "/org/twinit2"):
            r = self.tw.run("busctl", "get-property", "org.twinit1", path, "org.twinit1.Node",
                            "Id")
            self.assertNotEqual(r.returncode, 0, path)

    def test_error_names(self):
        own = "org.twinit1."
        dbus = "org.freedesktop.DBus.Error."
        for method, args in (("GetNode", ("nix",)), ("StartNode", ("nix", "replace")),
                             ("StopNode", ("nix", "replace")), ("DropTwin", ("nix",)),
                             ("RestartNode", ("nix", "fail")), ("CheckpointNode", ("nix",)),
                             ("FailoverNode", ("nix", "")), ("GetNode", ("",)),
                             ("GetNode", ("n.ini/../n",)), ("KillNode", ("nix", "main",
                                                                        ("int32", 15)))):
            self.refused(own + "NoSuchNode", method, *args)
        self.refused(own + "NoNodeForPID", "GetNodeByPID", ("uint32", 4000000))
        self.refused(own + "NoNodeForPID", "GetNodeByPID", ("uint32", 1))
        self.refused(dbus + "InvalidArgs", "StartNode", "n", "sometime")
        self.refused(dbus + "InvalidArgs", "StartNode", "n")
        self.refused(dbus + "InvalidArgs", "KillNode", "n", "all", ("int32", 15))
        self.refused(dbus + "InvalidArgs", "KillNode", "n", "main", ("int32", 4711))
        self.refused(own + "NoTwin", "FailoverNode", "idle", "")
        self.refused(own + "NoTwin", "FailoverNode", "a-b_c.1@x", "")
        self.refused(dbus + "UnknownMethod", "Explode")

    def test_not_running_is_busy(self):
        """org.twinit1.xml: NodeBusy is for what does not run, too."""
        self.refused("org.twinit1.NodeBusy", "CheckpointNode", "idle")

    def test_the_sentence(self):
        r = self.tw.run("busctl", "call", "org.twinit1", "/org/twinit1", "org.twinit1.Manager",
                        "GetNode", "s", "nix")
        self.assertEqual(r.returncode, 1)
        self.assertIn("There is no node 'nix'.", r.stderr)


class Acting(Graph):
    def test_start_stop_restart(self):
        m = self.monitor()
        job = self.bus.call("StartNode", "ss", "idle", "replace")[0]
        self.assertRegex(job, r"^/org/twinit1/job/\d+$")
        done = wait_for("JobRemoved", lambda: self.jobs(m, job))
        self.assertEqual(done, ["idle", "done"])
        self.assertEqual(self.bus.get("idle", "ActiveState"), "active")
        pid = self.bus.get("idle", "MainPID")
        self.jobs_end(m, self.bus.call("RestartNode", "ss", "idle", "fail")[0])
        again = self.bus.get("idle", "MainPID")
        self.assertNotEqual(pid, again)
        self.jobs_end(m, self.bus.call("StopNode", "ss", "idle", "replace")[0])
        self.assertEqual(self.bus.get("idle", "ActiveState"), "inactive")
        self.assertFalse(os.path.exists(f"/proc/{again}") and self.tw.inside().get(again))

    def jobs(self, m, path):
        found = [s["payload"]["data"] for s in m.signals("JobRemoved")]
        return next(([d[2], d[3]] for d in found if d[1] == path), None)

    def jobs_end(self, m, path):
        self.assertEqual(wait_for("JobRemoved", lambda: self.jobs(m, path))[1], "done")

    def test_checkpoint_and_failover(self):
        c, m = self.client(self.address), self.monitor()
        c.add(3)
        self.assertEqual(self.call("CheckpointNode", "s", "n"), "")
        self.assertEqual(self.bus.get("n", "State", "Twin"), "armed")
        c.add(3)
        self.assertEqual(self.call("FailoverNode", "ss", "n", "requested"), "")
        self.assertEqual(m.failover("n")["cause"], "requested")
        self.assertEqual(c.count(), 3)

    def test_drop_and_kill(self):
        self.call("CheckpointNode", "s", "n")
        self.assertEqual(self.call("DropTwin", "s", "n"), "")
        self.assertEqual(self.bus.get("n", "PIDs", "Twin"), [])
        self.assertEqual(self.call("KillNode", "ssi", "n", "main", "15"), "")
        self.wait_state("n", "inactive")

    def test_monitor_in_words(self):
        """busctl monitor without JSON shows the signal an operator looks for."""
        p = self.tw.spawn("busctl", "monitor", "org.twinit1", stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)
        try:
            errors, out = Lines(p.stderr), Lines(p.stdout)
            errors.wait("monitor", lambda x: "Monitoring" in x)
            self.call("CheckpointNode", "s", "n")
            self.call("FailoverNode", "ss", "n", "")
            out.wait("NodeFailover", lambda x: "Member=NodeFailover" in x)
            out.wait("the cause", lambda x: 'STRING "requested"' in x)
        finally:
            end_inside(p)
            out.join()
            errors.join()


class Privilege(Graph):
    def test_everybody_may_read(self):
        for user in (NOBODY, 1):
            self.assertEqual(self.bus.call("GetNode", "s", "n", user=user), [node_path("n")])
            self.assertEqual(len(self.bus.call("ListNodes", user=user)[0]), 4)
            self.busctl("tree", "org.twinit1", user=user)
            self.busctl("introspect", "org.twinit1", node_path("n"), user=user)
            self.assertEqual(self.busctl("get-property", "org.twinit1", node_path("n"),
                                         "org.twinit1.Twin", "Enabled", user=user), "b true\n")
        r = self.tw.run("twinctl", "list", user=NOBODY)
        self.assertEqual((r.returncode, r.stderr), (0, ""))

    CALLS = (("StartNode", "idle", "replace"), ("StopNode", "n", "replace"),
             ("RestartNode", "n", "replace"), ("CheckpointNode", "n"), ("DropTwin", "n"),
             ("FailoverNode", "n", ""), ("KillNode", "n", "main", ("int32", 9)))

    def test_only_root_may_act(self):
        """The policy file's fence: the daemon refuses."""
        for call in self.CALLS:
            self.refused("org.freedesktop.DBus.Error.AccessDenied", *call, user=NOBODY)
        self.untouched()

    def untouched(self):
        self.assertEqual(self.bus.get("idle", "ActiveState"), "inactive")
        self.assertEqual(self.bus.get("n", "ActiveState"), "active")
        self.assertEqual(self.bus.get("n", "NFailovers", "Twin"), 0)

    def test_twinctl_says_so(self):
        r = self.tw.run("twinctl", "stop", "n", user=NOBODY)
        self.assertEqual(r.returncode, 1)
        self.assertRegex(r.stderr, "(?i)denied|not allowed|permi|only root|reject")
        self.untouched()


class OpenPolicy(Privilege):
    """A bus whose policy lets everybody call anything: twinit itself refuses."""

    def setUp(self):
        self.policy_text = ('<busconfig><policy context="default"><allow own="*"/>'
                            '<allow send_destination="*"/><allow receive_sender="*"/>'
                            '</policy></busconfig>\n')
        super().setUp()

    def policy(self):
        return self.write("open.conf", self.policy_text)

    def test_the_refusal_is_its_own(self):
        self.refused("org.freedesktop.DBus.Error.AccessDenied", "StopNode", "n", "replace",
                     user=NOBODY)
        self.assertIn("Only root", self.sentence)


class Introspection(Graph):
    """What is there is what org.twinit1.xml says."""
    STANDARD = "org.freedesktop.DBus."
    FLAG = "org.freedesktop.DBus.Property.EmitsChangedSignal"

    def read_interfaces(self, text):
        found = {}
        for i in ElementTree.fromstring(text).findall("interface"):
            members = {}
            for m in i:
                args = [(a.get("type"), a.get("name"), a.get("direction"))
                        for a in m.findall("arg")]
                # A signal's arguments may say that they go out, or not.
                if m.tag == "signal":
                    args = [a[:2] for a in args]
                notes = {a.get("name"): a.get("value") for a in m.findall("annotation")}
                flag = notes.get(self.FLAG, "true") if m.tag == "property" else None
                members[m.tag, m.get("name")] = (m.get("type"), m.get("access"), args, flag)
            found[i.get("name")] = members
        return found

    def live(self, path):
        out = self.busctl("introspect", "--xml-interface", "org.twinit1", path)
        return {k: v for k, v in self.read_interfaces(out[out.index("<node"):]).items()
                if not k.startswith(self.STANDARD)}

    def test_all(self):
        with open(f"{ROOT}/supervisor/bus/org.twinit1.xml", encoding="utf-8") as f:
            text = f.read()
        written = self.read_interfaces(text[text.index("<node"):])
        live = {**self.live("/org/twinit1"), **self.live(node_path("n"))}
        job = written.pop("org.twinit1.Job")
        self.assertTrue(job)
        self.assertEqual(live, written)

    def test_every_property_can_be_read(self):
        for path, interface in (("/org/twinit1", "Manager"), (node_path("n"), "Node"),
                                (node_path("n"), "Twin"), (node_path("idle"), "Node"),
                                (node_path("idle"), "Twin")):
            interface = f"org.twinit1.{interface}"
            data = self.bus.busctl("call", "org.twinit1", path,
                                   "org.freedesktop.DBus.Properties", "GetAll", "s", interface)
            members = self.live(path)[interface]
            self.assertEqual({n for kind, n in members if kind == "property"}, set(data[0]))

    def test_job_object(self):
        os.mkfifo(self.path("gate"))
        self.tw.stop()
        self.close_all()
        self.boot({"slow": unit(script("counter.py", self.address, "--notify",
                                       f"--gate={self.path('gate')}"), Type="notify")})
        self.main_pid("slow")
        number, path = self.bus.get("slow", "Job")
        with open(f"{ROOT}/supervisor/bus/org.twinit1.xml", encoding="utf-8") as f:
            text = f.read()
        written = self.read_interfaces(text[text.index("<node"):])
        self.assertEqual(self.live(path), {"org.twinit1.Job": written["org.twinit1.Job"]})
        get = ("get-property", "org.twinit1", path, "org.twinit1.Job")
        self.assertEqual(self.bus.busctl(*get, "Id"), number)
        self.assertEqual(self.bus.busctl(*get, "Node"), ["slow", node_path("slow")])
        self.assertEqual(self.bus.busctl(*get, "State"), "running")
        self.assertEqual(self.bus.call("ListNodes")[0][-1][7:], [number, path])
        with open(self.path("gate"), "w", encoding="ascii") as f:
            f.write("go\n")
        self.wait_state("slow", "active")
        self.bus.wait("slow", "Job", [0, "/"])
        with self.assertRaises(BusError):
            self.bus.busctl(*get, "Id")


if __name__ == "__main__":
    main()
