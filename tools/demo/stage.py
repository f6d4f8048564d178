# SPDX-License-Identifier: Apache-2.0
"""A set of units made ready in a scratch folder, and twinit upon it."""
import os
import re
import shutil
import subprocess

import graph
from supervision import Supervision

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
RUNTIME = "/run/twinit"  # where the units look for ros.env
UNIT_FOLDERS = (f"{ROOT}/units", f"{ROOT}/tests/ros")


def find_unit(name):
    """A unit to use as it is, or the template of one."""
    for folder in UNIT_FOLDERS:
        for suffix in (".ini", ".ini.in"):
            if os.path.exists(f"{folder}/{name}{suffix}"):
                return f"{folder}/{name}{suffix}"
    raise FileNotFoundError(f"no unit {name}")


def render(source, target, replacements):
    with open(source, encoding="utf-8") as f:
        text = f.read()
    for name, value in replacements.items():
        text = text.replace(f"@{name}@", value)
    with open(target, "w", encoding="utf-8") as f:
        f.write(text)


def switch_twins_off(unit):
    with open(unit, "r+", encoding="utf-8") as f:
        text = re.sub(r"(?m)^Enabled=yes$", "Enabled=no", f.read())
        f.seek(0)
        f.truncate()
        f.write(text)


class Stage:
    def __init__(self, name, build, units, twins=True):
        self.build, self.units, self.twins = build, units, twins
        self.run = f"/run/demo/{name}"
        self.log = f"{self.run}/twinit.log"
        self.environment = {
            "ROS_MASTER_URI": graph.MASTER, "ROS_IP": "127.0.0.1",
            "ROS_HOME": f"{self.run}/ros", "ROS_LOG_DIR": f"{self.run}/ros/log",
            "ROS_PACKAGE_PATH": f"{self.run}/packages"}
        self.supervision = Supervision(build, f"{self.run}/units", RUNTIME, f"{self.run}/bus",
                                       self.log)

    def start(self):
        units = f"{self.run}/units"
        os.makedirs(units)
        shutil.rmtree(RUNTIME, ignore_errors=True)
        os.makedirs(RUNTIME, mode=0o755)
        with open(f"{RUNTIME}/ros.env", "w", encoding="utf-8") as f:
            f.writelines(f"{k}={v}\n" for k, v in self.environment.items())
        subprocess.run([f"{HERE}/pcl-plugins.sh", f"{self.run}/packages"], check=True)
        replacements = {"BUILD": self.build, "RUN": self.run,
                        "POLICY": f"{ROOT}/supervisor/bus/org.twinit1.conf"}
        render(f"{HERE}/dbus.conf.in", f"{self.run}/dbus.conf", replacements)
        for unit in self.units:
            render(find_unit(unit), f"{units}/{unit}.ini", replacements)
            if not self.twins:
                switch_twins_off(f"{units}/{unit}.ini")
        self.supervision.start()

    def stop(self):
        return self.supervision.stop()

    def command(self, argv, log):
        """A process of the graph that twinit knows nothing of."""
        with open(f"{self.run}/{log}", "ab") as f:
            return subprocess.Popen(argv, env={**os.environ, **self.environment},
                                    stdin=subprocess.DEVNULL, stdout=f, stderr=f)

    def last_words(self, lines=25):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as f:
                return f.read().splitlines()[-lines:]
        except FileNotFoundError:
            return []

    def keep(self, folder):
        """Copy what was written (logs, records, units) out of the scratch folder."""
        shutil.copytree(self.run, folder, dirs_exist_ok=True, symlinks=True,
                        ignore=shutil.ignore_patterns("bus", "packages"))
