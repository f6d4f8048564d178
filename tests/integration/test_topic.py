#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Kind=topic with real ROS 1 nodes of Debian: the rate on the wire, and a node that falls silent."""
import os
import signal
import subprocess
import sys

sys.dont_write_bytecode = True
from harness import BUILD, NODES, PYTHON, Case, guarded, main, unit, wait_for  # noqa: E402

MASTER = "http://127.0.0.1:11311"
TALKER = f"{BUILD}/tests/ros/talker"
NEEDED = ("/usr/bin/rosmaster", "/usr/bin/rostopic")


def missing():
    if any(not os.access(p, os.X_OK) for p in NEEDED):
        return "no ROS here"
    r = subprocess.run([PYTHON, "-c", "import rospy, std_msgs.msg"], capture_output=True,
                       check=False)
    return None if r.returncode == 0 else "no rospy here"


class Topic(Case):
    def graph(self, **nodes):
        """A master, these nodes, and somebody who listens to each topic of theirs."""
        if missing():
            self.skipTest(missing())
        home = self.path("home")
        env = f"ROS_MASTER_URI={MASTER} ROS_IP=127.0.0.1 ROS_HOME={home} HOME={home}"
        units = {"master": unit("/usr/bin/rosmaster --core -p 11311", Environment=env)}
        for name, (command, topic, probe) in nodes.items():
            units[name] = guarded(command, Environment=env, After="master") + (
                f"[Probe rate]\nKind=topic\nTopic={topic}\nInterval=200ms\nWindow=1s\n{probe}\n")
            units[f"listens-to-{name}"] = unit(f"/usr/bin/rostopic echo {topic}",
                                               Environment=env, StandardOutput="null",
                                               Restart="always")
        self.boot(units)
        if self.tw.has_said("cannot count"):
            self.skipTest("no eBPF or no cgroup v2 here")
        return self.monitor()

    def probe_signals(self, m, node, stage):
        return [s["payload"]["data"] for s in m.signals("NodeProbe")
                if s["payload"]["data"][0] == node and s["payload"]["data"][4] == stage]

    def test_falls_silent(self):
        m = self.graph(publisher=(f"{PYTHON} -B {NODES}/publisher.py", "/letters",
                                  "Node=/publisher\nMinHz=15\nMaxHz=25"))
        self.tw.said("^heard")
        pid = self.bus.get("publisher", "MainPID")
        self.bus.checkpoint("publisher")
        self.tw.kill(pid, signal.SIGUSR1)
        self.assert_swap(m.failover("publisher"), pid, "heartbeat")
        told = wait_for("NodeProbe", lambda: self.probe_signals(m, "publisher", "failed"))[0]
        self.assertRegex(told[5], r"/letters: \d+\.\d\d Hz, less than 15\.00")
        wait_for("its recovery", lambda: self.probe_signals(m, "publisher", "alive"))

    def test_rates(self):
        """One is told to be twice as fast as it is, one half as fast; and one is as it should be."""
        if not os.access(TALKER, os.X_OK):
            self.skipTest("the talker is not built")
        command = f"{TALKER} _rate:=20 __name:=%i chatter:=/%i"
        m = self.graph(slow=(command, "/slow", "MinHz=40\nAction=report"),
                       fast=(command, "/fast", "MaxHz=10\nAction=report"),
                       fit=(command, "/fit", "MinHz=12\nMaxHz=30\nAction=report"))
        slow = wait_for("slow", lambda: self.probe_signals(m, "slow", "failed"))[0]
        self.assertRegex(slow[5], r"/slow: (1[5-9]|2[0-4])\.\d\d Hz, less than 40\.00")
        fast = wait_for("fast", lambda: self.probe_signals(m, "fast", "failed"))[0]
        self.assertRegex(fast[5], r"/fast: (1[5-9]|2[0-4])\.\d\d Hz, more than 10\.00")
        self.assertEqual(self.probe_signals(m, "fit", "failed"), [])
        self.assertEqual([f for f in m.failovers() if "listens" not in f["node"]], [])


if __name__ == "__main__":
    main()
