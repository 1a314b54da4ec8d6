"""The settings of the VM service: how long starts and stops may take."""

from __future__ import annotations

from cairn.kernel.config import Setting

STOP_GRACE = Setting(
    "vm", "stop.grace", 60, unit="s", minimum=1, maximum=3600, doc="how long a guest may take to shut down by itself"
)
START_TIMEOUT = Setting(
    "vm", "start.timeout", 300, unit="s", minimum=5, maximum=86_400, doc="how long starting a VM on its host may take"
)
