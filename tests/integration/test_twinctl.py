#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""twinctl against the running daemon: what it prints, its JSON, its exit status."""
import json
import os
import signal
import sys

sys.dont_write_bytecode = True
from harness import (BUILD, ROOT, Case, guarded, main, node_path,  # noqa: E402
                     script, unit)

NODE_KEYS = {
    "id", "description", "load_state", "load_error", "active_state", "sub_state", "result",
    "result_detail", "status_text", "fragment_path", "object_path", "main_pid", "n_restarts",
    "started_usec", "ended_usec", "exit_code", "exit_status", "cpu_nsec", "memory_bytes", "tasks",
    "twin"}
TWIN_KEYS = {
    "enabled", "state", "pids", "interval_usec", "generations", "age_usec", "freeze_last_usec",
    "freeze_median_usec", "freeze_max_usec", "memory_private_bytes", "n_threads", "n_checkpoints",
    "n_skipped", "skip_reason", "n_failovers", "n_children_guarded", "n_child_failovers",
    "last_failover"}
FAILOVER_KEYS = {"at_usec", "cause", "result", "latency_usec", "rollback_usec", "generation",
                 "detail"}


class Twinctl(Case):
    def setUp(self):
        super().setUp()
        self.address = f"unix:{self.path('s')}"
        self.boot({"n": guarded(script("counter.py", self.address), Description="Counts"),
                   "idle": unit("/bin/sleep infinity", WantedBy=None),
                   "bad": "[Service]\nExecStart=/bin/true\nRestart=perhaps\n",
                   "broken": unit("/bin/false", Description="Fails at once")})
        self.wait_state("broken", "failed")
        self.client(self.address)

    def twinctl(self, *args, status=0, errors=""):
        r = self.tw.run("twinctl", *args)
        self.assertEqual(r.returncode, status, (args, r.stdout, r.stderr))
        if errors is not None:
            self.assertEqual(r.stderr, errors)
        return r.stdout

    def json(self, *args, **kw):
        out = self.twinctl("--json", *args, **kw)
        self.assertEqual(out.count("\n"), 1, "one line of JSON")
        return json.loads(out)

    def check_node(self, node):
        self.assertEqual(NODE_KEYS - set(node), set())
        self.assertEqual(TWIN_KEYS - set(node["twin"]), set())
        if node["twin"]["last_failover"] is not None:
            self.assertEqual(FAILOVER_KEYS - set(node["twin"]["last_failover"]), set())


class Looking(Twinctl):
    def test_list(self):
        lines = self.twinctl("list").splitlines()
        for name, words in {"n": ("active", "running"), "idle": ("inactive", "dead"),
                            "bad": ("error",), "broken": ("failed",)}.items():
            line = next(x for x in lines if f" {name} " in f" {x} ")
            for word in words:
                self.assertIn(word, line)
        nodes = self.json("list")
        self.assertEqual([n["id"] for n in nodes], ["bad", "broken", "dbus", "idle", "n"])
        for n in nodes:
            self.check_node(n)

    def test_overview(self):
        for args in ((), ("status",)):
            self.assertIn("degraded", self.twinctl(*args))
        s = self.json("status")
        self.assertEqual(s["system_state"], "degraded")
        self.assertEqual((s["n_nodes"], len(s["nodes"])), (5, 5))
        self.assertEqual(s["n_failed"], 1)
        for key in ("version", "architecture", "n_twins_armed", "twin_memory_bytes", "up_usec"):
            self.assertIn(key, s)

    def test_status_of_a_node(self):
        self.bus.checkpoint("n")
        self.crash("n", signal.SIGSEGV)
        self.bus.wait("n", "NFailovers", 1, "Twin")
        out = self.twinctl("status", "n")
        for text in ("Counts", str(self.bus.get("n", "MainPID")), "signal", "swapped in"):
            self.assertIn(text, out)
        n = self.json("status", "n")
        self.check_node(n)
        self.assertEqual(n["main_pid"], self.bus.get("n", "MainPID"))
        self.assertEqual(n["object_path"], node_path("n"))
        self.assertEqual(n["twin"]["n_failovers"], 1)
        self.assertEqual(n["twin"]["last_failover"]["cause"], "signal")
        both = self.json("status", "n", "dbus")
        self.assertEqual([x["id"] for x in both], ["n", "dbus"])

    def test_names_may_have_the_suffix(self):
        self.assertEqual(self.json("status", "n.ini")["id"], "n")

    def test_exit_status(self):
        self.twinctl("status", "idle", status=3)
        self.twinctl("status", "broken", status=3)
        self.twinctl("status", "nix", status=4, errors=None)
        self.twinctl("is-active", "n")
        self.assertEqual(self.twinctl("is-active", "idle", status=3), "inactive\n")
        self.assertEqual(self.twinctl("is-active", "broken", status=3), "failed\n")
        self.twinctl("is-active", "nix", status=4, errors=None)
        self.assertEqual(self.twinctl("is-failed", "broken"), "failed\n")
        self.twinctl("is-failed", "n", status=1)
        self.assertEqual(self.twinctl("-q", "is-active", "n"), "")
        self.twinctl("twin", "status", "idle", status=3)
        self.twinctl("twin", "status", "nix", status=4, errors=None)
        for verb in ("start", "stop", "restart", "failover", "kill", "show"):
            self.twinctl(verb, "nix", status=4, errors=None)
        for args in (("frobnicate",), ("start",), ("--nonsense",), ("twin", "n"),
                     ("kill", "-s", "SIGNIX", "n")):
            self.twinctl(*args, status=1, errors=None)

    def test_unknown_is_named(self):
        r = self.tw.run("twinctl", "status", "nix")
        self.assertIn("nix", r.stderr)
        self.assertEqual(r.stdout, "")

    def test_is_active_json(self):
        self.assertEqual(self.json("is-active", "n"), [{"id": "n", "active_state": "active"}])

    def test_show(self):
        out = self.twinctl("show", "n")
        self.assertIn("\nActiveState=active\n", "\n" + out)
        self.assertEqual(self.twinctl("show", "-p", "MainPID", "--value", "n"),
                         f"{self.bus.get('n', 'MainPID')}\n")
        self.assertEqual(self.twinctl("show", "-p", "SystemState"), "SystemState=degraded\n")
        n = self.json("show", "n")
        self.assertEqual(n["ActiveState"], "active")
        self.assertEqual(n["IntervalUSec"], 3600000000)
        self.assertEqual(self.json("show")["NNodes"], 5)

    def test_twin_status(self):
        self.bus.checkpoint("n")
        self.assertIn("armed", self.twinctl("twin", "status", "n"))
        t = self.json("twin", "status", "n")
        self.assertEqual(t["state"], "armed")
        self.assertEqual(TWIN_KEYS - set(t), set())

    def test_a_unit_that_did_not_load(self):
        n = self.json("status", "bad", status=3)
        self.assertEqual(n["load_state"], "error")
        self.assertIn("bad.ini:3: [Service] Restart=: ", json.dumps(n["load_error"]))
        r = self.tw.run("twinctl", "start", "bad")
        self.assertEqual(r.returncode, 1)
        self.assertIn("bad.ini:3: [Service] Restart=", r.stderr)

    def test_without_daemon_and_bus(self):
        r = self.tw.run("env", "DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nonexistent",
                        f"{BUILD}/twinctl", "list")
        self.assertEqual(r.returncode, 1)
        self.assertIn("/nonexistent", r.stderr)


class Doing(Twinctl):
    def test_start_stop_restart(self):
        self.assertEqual(self.twinctl("start", "idle"), "")
        self.assertEqual(self.bus.get("idle", "ActiveState"), "active")
        pid = self.bus.get("idle", "MainPID")
        self.twinctl("restart", "idle")
        self.assertNotEqual(self.bus.get("idle", "MainPID"), pid)
        self.assertEqual(self.bus.get("idle", "ActiveState"), "active")
        self.twinctl("stop", "idle", "n")
        for n in ("idle", "n"):
            self.assertEqual(self.bus.get(n, "ActiveState"), "inactive")
        got = self.json("start", "idle")
        self.assertEqual([(x["id"], x["result"]) for x in got], [("idle", "done")])

    def test_start_that_fails_says_why(self):
        r = self.tw.run("twinctl", "start", "broken")
        # Type=simple: it was started, and failed a moment later, or before the job's end.
        if r.returncode:
            self.assertIn("exited with status 1", r.stderr)
        r = self.tw.run("twinctl", "--json", "start", "broken", "idle")
        self.assertEqual([x["id"] for x in json.loads(r.stdout)], ["broken", "idle"])

    def test_no_block(self):
        got = self.json("--no-block", "start", "idle")
        self.assertIsNone(got[0]["result"])
        self.wait_state("idle", "active")

    def test_kill(self):
        self.twinctl("start", "idle")
        self.twinctl("kill", "idle")
        self.wait_state("idle", "inactive")
        self.bus.checkpoint("n")
        self.twinctl("kill", "-s", "SIGKILL", "n")
        self.bus.wait("n", "NFailovers", 1, "Twin")

    def test_output_to_a_full_disk(self):
        r = self.tw.run("/bin/sh", "-c", '"$0" list >/dev/full', f"{BUILD}/twinctl")
        self.assertEqual(r.returncode, 1)
        self.assertIn("cannot write", r.stderr)


class Verify(Case):
    """Needs no daemon, but the harness gives one; a bad unit is told as twinit would."""
    GOOD = "[Service]\nExecStart=/bin/sleep infinity\n"
    BAD = {
        # what: (text, line, key, words of the message)
        "no ExecStart": ("[Service]\nRestart=always\n", None, "ExecStart", ""),
        "not there": ("[Service]\nExecStart=/nonexistent/program\n", 2, "ExecStart", ""),
        "no absolute path": ("[Service]\nExecStart=sleep 1\n", 2, "ExecStart", "absolute"),
        "bad time span": (GOOD + "\n\nTimeoutStopSec=5 parsecs\n", 5, "TimeoutStopSec",
                          "time span"),
        "wrong section": ("[Unit]\nRestart=always\n" + GOOD, 2, "Restart", "Service"),
        "unknown key of ours": (GOOD + "[Twin]\nIntervall=1s\n", 4, "Intervall", "Interval"),
        "bad enum": (GOOD + "Restart=perhaps\n", 3, "Restart", "on-failure"),
        "bad signal": (GOOD + "KillSignal=SIGNIX\n", 3, "KillSignal", "SIGINT"),
        "bad number": (GOOD + "Nice=40\n", 3, "Nice", "-20"),
        "too short": (GOOD + "[Twin]\nInterval=1ms\n", 4, "Interval", "5ms"),
        "no folder": (GOOD + "WorkingDirectory=/nonexistent\n", 3, "WorkingDirectory", ""),
        "no environment": (GOOD + "EnvironmentFile=/nonexistent\n", 3, "EnvironmentFile", ""),
    }

    def setUp(self):
        super().setUp()
        self.boot({}, bus=False)

    def verify(self, text, *options):
        file = self.write("u/x.ini", text)
        return self.tw.run("twinctl", *options, "verify", file), file

    def test_good(self):
        r, file = self.verify(self.GOOD)
        self.assertEqual((r.returncode, r.stdout, r.stderr), (0, f"{file}: ok\n", ""))
        r, file = self.verify(self.GOOD, "--json")
        self.assertEqual(json.loads(r.stdout), [{"file": file, "ok": True, "findings": []}])

    def test_bad(self):
        for what, (text, line, key, words) in self.BAD.items():
            with self.subTest(what):
                r, file = self.verify(text)
                self.assertEqual(r.returncode, 1, r.stdout)
                place = f"{file}:{line}: " if line else f"{file}"
                self.assertIn(place, r.stdout)
                self.assertIn(f"{key}=", r.stdout)
                self.assertIn(words, r.stdout)
                r, file = self.verify(text, "--json")
                report = json.loads(r.stdout)[0]
                self.assertFalse(report["ok"])
                errors = [f for f in report["findings"] if f["level"] == "error"]
                self.assertEqual(errors[0]["key"], key)
                self.assertEqual(errors[0]["file"], file)
                if line:
                    self.assertEqual(errors[0]["line"], line)

    def test_unknown_key_of_systemds_is_a_warning(self):
        r, file = self.verify(self.GOOD + "PrivateTmp=yes\n")
        self.assertEqual(r.returncode, 0)
        self.assertIn(f"warning: {file}:3: [Service] PrivateTmp=: ", r.stdout)

    def test_all_findings_and_several_files(self):
        good = self.write("u/good.ini", self.GOOD)
        bad = self.write("u/bad.ini", self.GOOD + "Nice=x\nRestart=y\n")
        r = self.tw.run("twinctl", "verify", good, bad)
        self.assertEqual(r.returncode, 1)
        self.assertIn(f"{good}: ok\n", r.stdout)
        self.assertIn(f"{bad}:3: [Service] Nice=: ", r.stdout)
        self.assertIn(f"{bad}:4: [Service] Restart=: ", r.stdout)

    def test_no_such_file(self):
        r = self.tw.run("twinctl", "verify", "/nonexistent/x.ini")
        self.assertEqual(r.returncode, 1)
        self.assertIn("/nonexistent/x.ini", r.stdout + r.stderr)

    def test_the_units_of_the_project(self):
        units = [f"{ROOT}/units/{u}" for u in os.listdir(f"{ROOT}/units") if u.endswith(".ini")]
        self.assertTrue(units)
        r = self.tw.run("twinctl", "--json", "verify", *units)
        for report in json.loads(r.stdout):
            wrong = [f for f in report["findings"] if f["level"] == "error" and
                     f["key"] != "ExecStart"]  # what it runs need not be installed here
            self.assertEqual(wrong, [], report["file"])


if __name__ == "__main__":
    main()
