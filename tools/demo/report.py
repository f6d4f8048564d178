# SPDX-License-Identifier: Apache-2.0
"""Tables, plot and closing line: lists of text, nothing else."""
from statistics import median

BAR = 24
MSEC = 1e6

LEGEND = ("  counter: how far the filter's message counter fell back, which is in its memory alone",
          "  lost, again: scans that never came to the sink, or came twice",
          "  gap: longest time without a scan at the sink; scans are 100 ms apart")


def header(twins):
    return (f"  {'#':>2}  {'node':<12}{'cause':<11}{'result':<14}{'swap' if twins else 'exec':>9}"
            f"{'rollback':>10}{'counter':>9}{'lost':>6}{'again':>7}{'gap':>9}  {'pid':<15}graph")


def gap_ms(crash):
    return crash.disturbance.gap_nsec / MSEC


def swapped(crash):
    return crash.failover is not None and crash.failover.result == "success"


def _time(usec):
    return f"{usec / 1000:.2f} ms" if usec < 100000 else f"{usec / 1000:.0f} ms"


def line(number, crash):
    f, d = crash.failover, crash.disturbance
    cause, result = (f.cause, f.result) if f else ("-", "-")
    swap = _time(f.latency_usec) if f else "-"
    rollback = f"{f.rollback_usec / 1000:.0f} ms" if swapped(crash) else "-"
    back = f"-{d.steps_back}" if d.steps_back else "-"
    pid = "same" if crash.same_pid else "new"
    if f:
        pid = f"{f.new_pid} same" if crash.same_pid else f"{f.old_pid} -> {f.new_pid}"
    return (f"  {number:>2}  {crash.node:<12}{cause:<11}{result:<14}{swap:>9}{rollback:>10}"
            f"{back:>9}{d.lost:>6}{d.repeated:>7}{gap_ms(crash):>6.0f} ms  {pid:<15}"
            f"{crash.problem or 'whole'}{f' ({crash.note})' if crash.note else ''}")


def plot(series):
    """Both gap series as bars on one scale, crash by crash."""
    scale = max(gap_ms(c) for s in series for c in s.crashes) / BAR
    names = "".join(f"{s.title:<{BAR + 7}}" for s in series)
    lines = ["longest gap at the sink, ms", "  " + " " * 15 + names.rstrip()]
    for i, group in enumerate(zip(*(s.crashes for s in series))):
        bars = ""
        for c in group:
            bar = "#" * max(1, round(gap_ms(c) / scale))
            bars += f"{bar + f' {gap_ms(c):.0f}':<{BAR + 7}}"
        lines.append(f"  {i + 1:>2} {group[0].node:<12}{bars}".rstrip())
    return lines


def _master(series):
    if series.registered_after == series.registered_before:
        return "its master knows all"
    return (f"its master's memory lost ({series.registered_before} registrations before, "
            f"{series.registered_after} of them after)")


def _lost(crashes):
    """The worst loss of scans, told apart where a swap could not keep everything."""
    clean = [c.disturbance.lost for c in crashes if not c.note]
    other = [c.disturbance.lost for c in crashes if c.note]
    text = f"{max(clean, default=0)} a crash"
    return text + (f" ({max(other)} where not all could be kept)" if other else "")


def summary(twins, cold):
    swaps = [c.failover for c in twins.crashes if swapped(c)]
    same = sum(c.same_pid for c in twins.crashes)
    latency = _time(median(f.latency_usec for f in swaps)) if swaps else "none"
    text = (f"{len(twins.crashes)} crashes, {len(swaps)} swaps, same pid {same} times, graph "
            f"{'whole' if twins.whole() else 'LOST'}, scans lost at most "
            f"{_lost(twins.crashes)}, gap median "
            f"{median(map(gap_ms, twins.crashes)) if twins.crashes else 0:.0f} ms, swap latency "
            f"median {latency}")
    if cold and cold.crashes:
        text += (f"; cold restart: gap median {median(map(gap_ms, cold.crashes)):.0f} ms, scans "
                 f"lost at most {max(c.disturbance.lost for c in cold.crashes)} a crash, "
                 f"{_master(cold)}, a node started afterwards hears "
                 f"{'the others' if cold.late_node_hears else 'nothing'}")
    return text
