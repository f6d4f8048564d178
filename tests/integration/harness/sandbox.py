# SPDX-License-Identifier: Apache-2.0
"""Namespaces for a whole file of tests, and the certainty that nothing of it outlives it.

A test program runs itself again as first process of fresh mount, pid, network, IPC and UTS
namespaces with a tmpfs of its own over /run. Whatever ends the program, SIGKILL included, ends
that first process, and with it the kernel ends and forgets all the rest. Each test starts twinit
in yet another set of namespaces inside of this one.
"""
import os
import resource
import shutil
import signal
import subprocess
import sys

MARK = "TWINIT_TEST_SANDBOX"
SCRATCH = "/run/scratch"
SKIPPED = 77


def is_inside():
    return MARK in os.environ


def enter():
    """Run this program again inside; its exit status."""
    if os.geteuid() != 0:
        if not shutil.which("sudo"):
            print("it takes root to make namespaces, and there is no sudo here")
            return SKIPPED
        keep = [f"{k}={os.environ[k]}" for k in ("TWINIT_BUILD", "SOFTWARE", "SOFTWARE_SEED")
                if k in os.environ]
        os.execvp("sudo", ["sudo", "--", "env", *keep, sys.executable, *sys.argv])
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--net", "--ipc", "--uts",
               "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, *sys.argv]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, env={**os.environ, MARK: "yes"})

    def stop(_signum, _frame):
        child.kill()
    for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(s, stop)
    return child.wait()


def prepare():
    """To be called inside, once."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"], check=True)
    for folder in (SCRATCH, "/run/dbus", "/run/twinit"):
        os.mkdir(folder)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.RLIM_INFINITY))
    os.environ["LC_ALL"] = "C.UTF-8"
    for name in ("DBUS_SYSTEM_BUS_ADDRESS", "DBUS_SESSION_BUS_ADDRESS", "NOTIFY_SOCKET", "LANG"):
        os.environ.pop(name, None)


def pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def others():
    """What runs in here besides ourselves: pid -> command line."""
    found = {}
    for pid in pids():
        if pid == os.getpid():
            continue
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                command = f.read().replace(b"\0", b" ").decode(errors="replace").strip()
            found[pid] = command or comm(pid)
        except OSError:
            pass
    return found


def comm(pid):
    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as f:
        return f.read().strip()
