#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Units that are wrong: each is named, with what is wrong, and the rest goes on."""
import sys

sys.dont_write_bytecode = True
from harness import Case, guarded, main, unit, wait_for  # noqa: E402

SLEEP = "/bin/sleep infinity"


class Bystander(Case):
    """Beside what is wrong there is a good node, which must not notice."""

    def check_good(self):
        """The bystander runs, and the whole is what it is said to be."""
        self.wait_state("good", "active")
        self.bus.wait("good", "State", "armed", "Twin")
        wait_for("the end of the start-up", lambda: self.bus.manager("FinishTimestamp"))
        state = self.tw.proc(self.bus.get("good", "MainPID"), "stat").rpartition(")")[2].split()[0]
        self.assertIn(state, "SRt")  # asleep, at work, or at a checkpoint

    def with_good(self, units, *options, **kw):
        self.boot({"good": guarded(SLEEP, Interval="100ms"), **units}, *options, **kw)


class BadInput(Bystander):
    def check_load_error(self, text, line, key, words):
        """A unit x with this text does not load."""
        self.with_good({"x": text})
        self.check_good()
        self.assertEqual(self.bus.get("x", "LoadState"), "error")
        name, message = self.bus.get("x", "LoadError")
        self.assertEqual(name, "org.twinit1.LoadFailed")
        place = self.path("units/x.ini") + (f":{line}: " if line else "")
        for part in (place, f"{key}=", words):
            self.assertIn(part, message)
            self.assertTrue(any(f" x: {place}" in line and part in line
                                for line in self.tw.log.all), part)
        self.assertEqual(self.bus.get("x", "ActiveState"), "inactive")
        r = self.tw.run("twinctl", "start", "x")
        self.assertEqual(r.returncode, 1)
        self.assertIn(f"{key}=", r.stderr)

    def test_missing_exec_start(self):
        self.check_load_error("[Service]\nRestart=always\n", None, "ExecStart", "")

    def test_bad_time_span(self):
        self.check_load_error(f"[Service]\nExecStart={SLEEP}\nRestartSec=5 parsecs\n", 3,
                              "RestartSec", "5 parsecs")

    def test_key_in_the_wrong_section(self):
        self.check_load_error(f"[Unit]\nRestart=always\n[Service]\nExecStart={SLEEP}\n", 2,
                              "Restart", "[Service]")

    def test_unknown_key_of_ours(self):
        self.check_load_error(f"[Service]\nExecStart={SLEEP}\n[Twin]\nIntervall=1s\n", 4,
                              "Intervall", "Interval=")

    def test_bytes_that_are_no_text(self):
        self.with_good({})
        with open(self.path("units/x.ini"), "wb") as f:
            f.write(b"[Service]\nExecStart=/bin/\xff\xfe\0true\n")
        self.tw.stop()
        self.with_good({})
        self.check_good()
        self.assertEqual(self.bus.get("x", "LoadState"), "error")

    def check_failed(self, text, result, status, words):
        """A unit x with this text loads and cannot be started."""
        self.with_good({"x": text})
        self.wait_state("x", "failed")
        node = self.bus.all("x")
        self.assertEqual((node["Result"], node["ExecMainStatus"]), (result, status))
        for part in words:
            self.assertIn(part, node["ResultDetail"])
        self.assertEqual(node["MainPID"], 0)
        self.tw.said(rf"<3>.* x: .*{words[0]}")
        self.check_good()
        self.assertEqual(self.bus.manager("SystemState"), "degraded")
        r = self.tw.run("twinctl", "start", "x")
        self.assertEqual(r.returncode, 1)
        for part in words:
            self.assertIn(part, r.stderr)

    def test_exec_start_is_not_there(self):
        self.check_failed(unit("/nonexistent/program"), "exit-code", 203,
                          ("ExecStart=/nonexistent/program", "No such file"))

    def test_exec_start_is_not_executable(self):
        path = self.write("program", "#!/bin/sh\nexit 0\n", 0o644)
        self.check_failed(unit(path), "exit-code", 203, (f"ExecStart={path}", "Permission"))

    def test_exec_start_is_a_folder(self):
        self.check_failed(unit("/usr"), "exit-code", 203, ("ExecStart=/usr", "Permission"))

    def test_exec_start_is_no_program(self):
        path = self.write("program", "\0\1\2\3", 0o755)
        self.check_failed(guarded(path, Restart="no"), "exit-code", 203,
                          (f"ExecStart={path}", "Exec format"))

    def test_unknown_user(self):
        self.check_failed(unit(SLEEP, User="no-such-user"), "exit-code", 217,
                          ("User=no-such-user", "no such user"))

    def test_unknown_group(self):
        self.check_failed(unit(SLEEP, Group="no-such-group"), "exit-code", 216,
                          ("Group=no-such-group",))

    def test_working_directory_is_not_there(self):
        self.check_failed(unit(SLEEP, WorkingDirectory="/nonexistent"), "exit-code", 200,
                          ("WorkingDirectory=/nonexistent", "No such file"))

    def test_environment_file_is_not_there(self):
        self.with_good({"x": unit(SLEEP, EnvironmentFile="/nonexistent")})
        self.wait_state("x", "failed")
        self.assertIn("EnvironmentFile=/nonexistent", self.bus.get("x", "ResultDetail"))

    def test_output_cannot_be_opened(self):
        self.check_failed(unit(SLEEP, StandardOutput="file:/nonexistent/out"), "exit-code", 209,
                          ("StandardOutput=/nonexistent/out", "No such file"))


class Graph(Bystander):
    def test_cycle(self):
        self.with_good({"a": unit(SLEEP, After="b"), "b": unit(SLEEP, After="c"),
                        "c": unit(SLEEP, After="a"), "d": unit(SLEEP, After="a")})
        self.tw.said(r"<3>.*units are ordered in a cycle.*: a -> b -> c -> a")
        self.check_good()
        for n in "abc":
            self.assertEqual(self.bus.get(n, "ActiveState"), "failed")
            self.assertIn("a -> b -> c -> a", self.bus.get(n, "ResultDetail"))
        self.wait_state("d", "active")

    def test_cycle_of_one(self):
        self.with_good({"a": unit(SLEEP, After="a")})
        self.tw.said("units are ordered in a cycle.*: a -> a")
        self.check_good()
        self.assertEqual(self.bus.get("a", "ActiveState"), "failed")

    def test_requires_what_is_not_there(self):
        self.with_good({"a": unit(SLEEP, Requires="nix"), "b": unit(SLEEP, Wants="nix"),
                        "c": unit(SLEEP, Requires="a")})
        self.check_good()
        self.wait_state("b", "active")
        for n in "ac":
            self.wait_state(n, "failed")
        self.assertIn("nix", self.bus.get("a", "ResultDetail"))

    def test_unit_path_is_not_there(self):
        self.with_good({}, "--unit-path=/nonexistent")
        self.tw.said("unit path /nonexistent: No such file")
        self.check_good()


class StartLimit(Bystander):
    def check_limit(self, make, **settings):
        self.with_good({"x": make("/bin/false", Restart="always", RestartSec="0",
                                  StartLimitBurst="3", StartLimitIntervalSec="1min", **settings)})
        self.wait_state("x", "failed")
        node = self.bus.all("x")
        self.assertEqual(node["Result"], "start-limit-hit")
        self.assertIn("exited with status 1", node["ResultDetail"])
        self.assertEqual(node["NRestarts"], 2)
        self.assertEqual(len(self.tw.has_said(r" x: started, process \d+")), 3)
        self.check_good()
        self.assertEqual(self.bus.manager("NFailedNodes"), 1)

    def test_fails_at_once(self):
        self.check_limit(unit)

    def test_fails_at_once_with_a_twin_wanted(self):
        self.check_limit(guarded)

    def test_crashes_at_once(self):
        self.with_good({"x": guarded("/bin/sh -c 'kill -SEGV $$'", Restart="always",
                                     StartLimitBurst="2", StartLimitIntervalSec="1min")})
        self.wait_state("x", "failed")
        self.assertEqual(self.bus.get("x", "Result"), "start-limit-hit")
        self.check_good()

    def test_cannot_be_executed(self):
        self.with_good({"x": unit("/nonexistent", Restart="always", RestartSec="0",
                                  StartLimitBurst="3", StartLimitIntervalSec="1min")})
        self.wait_state("x", "failed")
        self.assertEqual(self.bus.get("x", "Result"), "start-limit-hit")
        self.assertIn("/nonexistent", self.bus.get("x", "ResultDetail"))
        self.check_good()

    def test_restart_no(self):
        self.with_good({"x": unit("/bin/false")})
        self.wait_state("x", "failed")
        self.assertEqual(self.bus.get("x", "Result"), "exit-code")
        self.assertEqual(self.bus.get("x", "NRestarts"), 0)
        self.check_good()


if __name__ == "__main__":
    main()
