# SPDX-License-Identifier: Apache-2.0
"""twinit in namespaces of its own, and everything a test does to it from outside and inside."""
import contextlib
import ctypes
import os
import re
import socket
import subprocess
import threading
from signal import SIGKILL, SIGTERM

from . import sandbox
from .waiting import LIMIT, Lines, ended, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
BUILD = os.path.abspath(os.path.join(ROOT, os.environ.get("TWINIT_BUILD", "build/release")))
NODES = os.path.join(os.path.dirname(HERE), "nodes")
CLONE_NEWNET = 0x40000000
# In the new namespaces, before twinit: what a machine has and they do not.
SETUP = """set -e
ip link set lo up
mount --bind "$0/bus" /run/dbus
mount --bind "$0/runtime" /run/twinit
exec "$@"
"""


class Twinit:
    def __init__(self, scratch, options=(), pid1=True, wrapper=(), stderr=None):
        self.scratch, self.pid1, self.pid = scratch, pid1, None
        spaces = ["--mount", "--net", "--ipc", "--uts"]
        if pid1:
            spaces += ["--pid", "--fork", "--kill-child", "--mount-proc"]
        for folder in ("bus", "runtime", "units"):
            os.makedirs(f"{scratch}/{folder}", exist_ok=True)
        self.process = subprocess.Popen(
            ["unshare", *spaces, "/bin/sh", "-c", SETUP, scratch, *wrapper, f"{BUILD}/twinit",
             f"--unit-path={scratch}/units", f"--state-dir={scratch}/state", *options],
            stdin=subprocess.DEVNULL, stdout=stderr or subprocess.PIPE,
            stderr=stderr or subprocess.STDOUT, text=True, errors="replace")
        self.log = Lines(self.process.stdout) if not stderr else None
        self.pid = wait_for("twinit's start", self._find, LIMIT)

    def _find(self):
        if self.process.poll() is not None:
            raise AssertionError(f"twinit ended at once: {self.process.returncode}, "
                                 f"{self.log.all if self.log else ''}")
        pids = [self.process.pid]
        if self.pid1:
            pids = children(self.process.pid)
        # Not before it catches SIGTERM: as PID 1 it would never hear of one that comes earlier.
        up = pids and sandbox.comm(pids[0]) == "twinit" and has_signal(pids[0], "SigCgt", SIGTERM)
        return pids[0] if up else None

    # --- pids: of the namespace of twinit ("inner"), and of the test's own ------------------

    def outer(self, inner):
        """The pid here of what twinit calls inner."""
        if not self.pid1:
            return inner
        space = os.readlink(f"/proc/{self.pid}/ns/pid")
        for pid in sandbox.pids():
            ns = status_field(pid, "NSpid")
            with contextlib.suppress(OSError):
                # Not of another twinit, should a test have left one. A node may be further inside.
                if (ns and ns.split()[1:2] == [str(inner)] and
                        (len(ns.split()) > 2 or os.readlink(f"/proc/{pid}/ns/pid") == space)):
                    return pid
        raise ProcessLookupError(inner)

    def kill(self, inner, sig):
        os.kill(self.outer(inner), sig)

    def send(self, sig):
        os.kill(self.pid, sig)

    def proc(self, inner, name):
        with open(f"/proc/{self.outer(inner)}/{name}", encoding="utf-8", errors="replace") as f:
            return f.read()

    def tids(self, inner):
        """The thread ids, as the namespace has them."""
        outer = self.outer(inner)
        found = set()
        for tid in os.listdir(f"/proc/{outer}/task"):
            found.add(int(status_field(f"{outer}/task/{tid}", "NSpid").split()[-1]))
        return found

    def inside(self):
        """All that runs in there but twinit itself: outer pid -> command line."""
        space = os.readlink(f"/proc/{self.pid}/ns/pid")
        found = {}
        for pid, command in sandbox.others().items():
            try:
                if pid != self.pid and os.readlink(f"/proc/{pid}/ns/pid") == space:
                    found[pid] = command
            except OSError:
                pass
        return found

    # --- commands inside ---------------------------------------------------------------------

    def _enter(self, argv, user):
        spaces = ["-m", "-n", "-i", "-u"] + (["-p"] if self.pid1 else [])
        # Its root too: a mount namespace brings that of the machine, also where all this is a chroot.
        root = ["-r", f"--wd=/proc/{self.pid}/root"]
        command = ["nsenter", "-t", str(self.pid), *spaces, *root, "--"]
        if user is not None:
            command += ["setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups"]
        return command + [f"{BUILD}/twinctl" if a == "twinctl" and i == 0 else a
                          for i, a in enumerate(argv)]

    def run(self, *argv, user=None, limit=LIMIT):
        return subprocess.run(self._enter(argv, user), stdin=subprocess.DEVNULL, text=True,
                              capture_output=True, timeout=limit, check=False)

    def spawn(self, *argv, user=None, **kw):
        kw.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(self._enter(argv, user), text=True, **kw)

    def socket(self, family):
        """A socket that belongs to twinit's network namespace."""
        made = []

        def make():
            libc = ctypes.CDLL(None, use_errno=True)
            fd = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            # Only this thread goes there, and it ends at once.
            if libc.setns(fd, CLONE_NEWNET) == 0:
                made.append(socket.socket(family, socket.SOCK_STREAM))
            os.close(fd)
        t = threading.Thread(target=make)
        t.start()
        t.join()
        made[0].settimeout(LIMIT)
        return made[0]

    # --- the log -----------------------------------------------------------------------------

    def said(self, pattern, since=0, limit=LIMIT):
        """Wait for a line of the log; the match."""
        r = re.compile(pattern)
        return r.search(self.log.wait(f"log line {pattern!r}", r.search, since, limit))

    def has_said(self, pattern, since=0):
        r = re.compile(pattern)
        return [r.search(x) for x in self.log.find(r.search, since)]

    def mark(self):
        return len(self.log.all)

    # --- the end -----------------------------------------------------------------------------

    def stop(self, sig=SIGTERM, limit=LIMIT):
        """Ask it to end; its exit status, or None where it does not."""
        if self.process.poll() is None:
            self.send(sig)
        status = ended(self.process, limit)
        if status is not None and self.log:
            self.log.join()
        return status

    def destroy(self):
        if self.process.poll() is None:
            self.send(SIGKILL)
            self.process.kill()
            self.process.wait()


def end_inside(process):
    """End what spawn() began: nsenter itself only waits for its child, which is to die first.
    Where there was no pid namespace to go to, it has become the program."""
    if process.poll() is None:
        for pid in children(process.pid) or [process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, SIGKILL)
    if ended(process, LIMIT) is None:
        process.kill()
        process.wait()


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
            return [int(p) for p in f.read().split()]
    except OSError:
        return []


def status_field(pid, name):
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as f:
            for line in f:
                if line.startswith(name + ":"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return None


def has_signal(pid, field, sig):
    """Is sig in SigCgt, SigIgn, SigBlk, SigPnd of a process?"""
    return bool(int(status_field(pid, field) or "0", 16) & 1 << (sig - 1))
