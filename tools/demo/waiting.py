# SPDX-License-Identifier: Apache-2.0
"""Waiting for something to become true, with a limit and a name for what was waited for."""
import time

STEP = 0.01


class Overdue(Exception):
    pass


def reached(condition, seconds):
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            return False
        time.sleep(STEP)
    return True


def wait_for(what, condition, seconds):
    if not reached(condition, seconds):
        raise Overdue(f"{what}: not within {seconds:g} s")
