# SPDX-License-Identifier: Apache-2.0
"""Waiting for what must happen: never for a time, always for an event, and with a limit.

Whatever brings news (a line of a log, a message on the bus, an answer) calls notify(); whoever
waits looks again then. What sends no news (/proc, a socket that appears) is looked at every STEP.
"""
import subprocess
import threading
import time

LIMIT = 30.0  # generous: it is only reached where something is broken
STEP = 0.02
_news = threading.Condition()


class Overdue(AssertionError):
    pass


def notify():
    with _news:
        _news.notify_all()


def wait_for(what, condition, limit=LIMIT, step=STEP):
    """The first true value of condition()."""
    end = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Overdue(f"{what}: not within {limit:g} s")
        with _news:
            _news.wait(step)


class Lines:
    """The lines that come out of a pipe, as they come."""

    def __init__(self, pipe, parse=lambda line: line):
        self.all = []
        self._pipe, self._parse = pipe, parse
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        for line in self._pipe:
            self.all.append(self._parse(line.rstrip("\n")))
            notify()
        self._pipe.close()
        notify()

    def find(self, wanted, since=0):
        return [x for x in self.all[since:] if wanted(x)]

    def wait(self, what, wanted, since=0, limit=LIMIT):
        return wait_for(what, lambda: self.find(wanted, since), limit, step=1)[0]

    def join(self):
        self._thread.join(LIMIT)


def ended(process, limit=LIMIT):
    """The exit status of a child, or None where it does not end."""
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        return None
