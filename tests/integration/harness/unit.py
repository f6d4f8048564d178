# SPDX-License-Identifier: Apache-2.0
"""Unit files out of keyword arguments."""
SECTIONS = {
    "Unit": ("Description", "After", "Before", "Requires", "Wants", "StartLimitIntervalSec",
             "StartLimitBurst", "BindsTo", "PartOf", "OnFailure"),
    "Install": ("WantedBy",),
    "Twin": ("Enabled", "Interval", "Generations", "QuietWindow", "Identity", "Takeover",
             "Children", "GuardChildren"),
    "Failover": ("OnThreadExit", "StableSec", "FailsafeUnit", "Notify", "OnDependencyFailover", "EventFD",
                 "PostMortem", "CoreDump"),
}
SECTION_OF = {key: section for section, keys in SECTIONS.items() for key in keys}


def unit(exec_start, **settings):
    """The text of a unit. A list of values is a key repeated. Without a twin unless asked for."""
    settings = {"ExecStart": exec_start, "Enabled": "no", "WantedBy": "default.target",
                "TimeoutStopSec": "10s", **settings}
    text = "# SPDX-License-Identifier: Apache-2.0\n"
    for section in ("Unit", "Service", "Twin", "Failover", "Install"):
        text += f"[{section}]\n"
        for key, value in settings.items():
            if SECTION_OF.get(key, "Service") != section or value is None:
                continue
            for v in value if isinstance(value, (list, tuple)) else [value]:
                text += f"{key}={v}\n"
    return text


def guarded(exec_start, **settings):
    """With a twin, made when the node has started, and then only where the test says so. Its
    quiet moment may be long in coming on a busy machine: without one, connections may break."""
    return unit(exec_start, **{"Enabled": "yes", "Interval": "1h", "QuietWindow": "2s",
                               "Restart": "on-failure", "RestartSec": "0", **settings})
