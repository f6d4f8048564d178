# SPDX-License-Identifier: Apache-2.0
"""Namespaces of the demo's own, and the certainty that nothing of it outlives it.

The demo runs itself again as first process of fresh mount, pid, network, IPC and UTS namespaces.
Its files live on a tmpfs over /run that only this mount namespace knows. Whatever ends the demo,
SIGKILL included, ends that first process, and with it the kernel ends and forgets all the rest.
"""
import os
import shutil
import signal
import subprocess
import sys

STOP_SECONDS = 20  # an orderly end may take this long, then it is SIGKILL
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(Exception):
    """Somebody wants the demo to end."""


def _stop(signum, _frame):
    for s in ENDING:
        signal.signal(s, signal.SIG_IGN)
    raise Stopped(signal.Signals(signum).name)


def stop_on_signals():
    for s in ENDING:
        signal.signal(s, _stop)


def become_root():
    if os.geteuid() == 0:
        return
    if not shutil.which("sudo"):
        sys.exit("demo: it takes root to make namespaces, and there is no sudo here")
    os.execvp("sudo", ["sudo", "--", sys.executable, *sys.argv])


def run_inside(argv):
    """Run argv as first process of the namespaces; its exit status."""
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--net", "--ipc", "--uts",
               "--pid", "--fork", "--kill-child", "--mount-proc", *argv]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)
    stop_on_signals()
    try:
        return child.wait()
    except Stopped:
        os.killpg(child.pid, signal.SIGTERM)  # unshare itself blocks it
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        return 130


def prepare():
    """To be called inside, once."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        return [int(p) for p in f.read().split()]


def pid_here(inner):
    """The pid in this namespace of what the supervisor's namespace, one below, calls inner."""
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/status", encoding="ascii", errors="replace") as f:
                fields = dict(line.split(":", 1) for line in f if ":" in line)
        except OSError:
            continue
        pids = fields["NSpid"].split()
        if len(pids) == 2 and int(pids[1]) == inner:
            return int(name)
    raise ProcessLookupError(inner)
