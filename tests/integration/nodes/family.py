# SPDX-License-Identifier: Apache-2.0
"""family.py LOG ADDRESS N [OPTION...]: forks N children, each a counter.py at ADDRESS.1, ADDRESS.2
and so on, and blocks in wait(). All that wait() says is a line in LOG.

--killer: on SIGUSR1 it aborts the first of them. --subreaper: orphans come to it. --nested: each child has a child of its own that sleeps.
"""
import ctypes
import os
import runpy
import signal
import sys
import time

PR_SET_CHILD_SUBREAPER = 36


def be_child(number):
    if "--nested" in sys.argv and os.fork() == 0:
        while True:
            time.sleep(1)
    counter = os.path.join(os.path.dirname(os.path.abspath(__file__)), "counter.py")
    options = [o for o in sys.argv[4:] if o not in ("--killer", "--subreaper", "--nested")]
    sys.argv = [counter, f"{sys.argv[2]}.{number}", *options]
    runpy.run_path(counter, run_name="__main__")


def main():
    log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    if "--subreaper" in sys.argv:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    pids = []
    for number in range(int(sys.argv[3])):
        pid = os.fork()
        if pid == 0:
            be_child(number + 1)
        pids.append(pid)
        os.write(log, f"child {pid}\n".encode())
    if "--killer" in sys.argv:
        signal.signal(signal.SIGUSR1, lambda *_: os.kill(pids[0], signal.SIGABRT))
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            os.write(log, b"none\n")
            break
        os.write(log, f"ended {pid} {status}\n".encode())
    while True:
        signal.pause()


main()
