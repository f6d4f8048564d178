#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The table of docs/interrupted-calls.md: every call that can block has a row, and the victims that a
row names know it."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

# The calls that may block, each with the words by which one of its victims knows it.
CALLS = {
    "futex WAIT": "futex WAIT", "futex WAIT_BITSET": "WAIT_BITSET", "futex LOCK_PI": "LOCK_PI",
    "futex LOCK_PI2": "LOCK_PI2", "futex WAIT_REQUEUE_PI": "WAIT_REQUEUE_PI",
    "futex_waitv": "futex_waitv", "robust and PI mutexes": "ROBUST", "poll": "SYS_poll",
    "ppoll": "SYS_ppoll", "select": "SYS_select", "pselect6": "SYS_pselect6",
    "epoll_wait": "SYS_epoll_wait", "epoll_pwait": "SYS_epoll_pwait",
    "epoll_pwait2": "SYS_epoll_pwait2", "nanosleep": "SYS_nanosleep",
    "clock_nanosleep, relative": "clock_nanosleep, relative",
    "clock_nanosleep, absolute": "TIMER_ABSTIME", "read of a pipe": "read of a pipe",
    "read of a socket": "SO_RCVTIMEO", "read of an eventfd": "read of an eventfd",
    "read of a timerfd": "read of a timerfd", "read of a signalfd": "read of a signalfd",
    "read of inotify": "read of inotify", "read of a terminal": "VTIME",
    "write to a pipe, socket, terminal": "write to a terminal", "writev": "SYS_writev",
    "accept": "SYS_accept", "connect": "SYS_connect", "recv, recvfrom, recvmsg": "SYS_recvmsg",
    "recvmmsg": "SYS_recvmmsg", "send, sendto, sendmsg": "SYS_sendmsg",
    "sendmmsg": "SYS_sendmmsg", "sendfile": "SYS_sendfile", "splice": "SYS_splice",
    "sigtimedwait": "sigtimedwait", "sigsuspend": "sigsuspend", "pause": "pause",
    "semop": "semop", "semtimedop": "SYS_semtimedop", "msgrcv": "msgrcv", "msgsnd": "msgsnd",
    "mq_timedreceive": "SYS_mq_timedreceive", "mq_timedsend": "SYS_mq_timedsend",
    "wait4": "wait4", "waitid": "waitid", "flock": "flock", "F_SETLKW": "F_SETLKW",
    "F_OFD_SETLKW": "F_OFD_SETLKW", "sem_wait": "sem_wait", "sem_timedwait": "sem_timedwait",
    "pthread_join": "pthread_join", "vfork": "fork", "getrandom": "SYS_getrandom",
    "open of a FIFO": "open of a FIFO", "io_uring_enter": "io_uring",
    # No victim can have these: not armed, or not broken at all.
    "io_getevents": None, "close": None, "ioctl": None, "fsync": None, "copy_file_range": None,
}


def rows():
    text = (ROOT / "docs/interrupted-calls.md").read_text()
    table = text.split("## The calls", 1)[1]
    for line in table.splitlines():
        cells = [c.strip() for c in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 4 and not set(cells[0]) <= {"-"}:
            yield cells


def main():
    wrong = []
    found = {}
    for call, _, rule, victims in rows():
        if call == "call":
            continue
        found[call] = victims
        if not rule:
            wrong.append(f"{call}: no rule")
        for name in re.findall(r"\w+", victims.replace("-", "")):
            if not (ROOT / f"tests/victims/{name}.c").exists():
                wrong.append(f"{call}: there is no victim {name}")
    runs = (ROOT / "tests/unit/test_victims.c").read_text()
    for call, word in CALLS.items():
        if call not in found:
            wrong.append(f"{call}: not in the table")
            continue
        names = re.findall(r"\w+", found[call].replace("-", ""))
        sources = [(ROOT / f"tests/victims/{n}.c").read_text() for n in names
                   if (ROOT / f"tests/victims/{n}.c").exists()]
        if word and not any(word in s for s in sources):
            wrong.append(f"{call}: none of its victims speaks of {word}")
        wrong += [f"{call}: {n} is not run" for n in names
                  if f'"{n}"' not in runs and n != "uring"]
    for w in wrong:
        print(w)
    print(f"{len(CALLS)} calls, {len(found)} rows, {len(wrong)} wrong")
    return 1 if wrong else 0


sys.exit(main())
