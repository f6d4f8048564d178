# SPDX-License-Identifier: Apache-2.0
"""What the integration tests share: see case.py for where a test begins."""
from .bus import Bus, BusError, Monitor, node_path
from .case import PYTHON, Case, main, script
from .client import Client
from .daemon import BUILD, NODES, ROOT, Twinit, children, end_inside, has_signal, status_field
from .sandbox import comm, others
from .unit import guarded, unit
from .waiting import LIMIT, Lines, Overdue, ended, wait_for

__all__ = ["BUILD", "LIMIT", "NODES", "PYTHON", "ROOT", "Bus", "BusError", "Case", "Client",
           "Lines", "Monitor", "Overdue", "Twinit", "children", "comm", "end_inside", "ended",
           "guarded", "has_signal", "main", "node_path", "others", "script", "status_field",
           "unit", "wait_for"]
