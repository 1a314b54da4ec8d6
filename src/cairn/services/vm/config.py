"""The settings of the VM service: how long starts and stops may take."""

from __future__ import annotations

from cairn.kernel.config import Setting

STOP_GRACE = Setting(
    "vm", "stop.grace", 60, unit="s", minimum=1, maximum=3600, doc="how long a guest may take to shut down by itself"
)
EXPUNGE_PERIOD = Setting(
    "vm",
    "expungePeriod",
    604_800,
    unit="s",
    minimum=60,
    maximum=315_360_000,
    doc="how long a destroyed VM is kept and can be recovered; after that it is expunged with its disk",
)
EXPUNGE_INTERVAL = Setting(
    "vm",
    "expungeInterval",
    3600,
    unit="s",
    minimum=10,
    maximum=86_400,
    doc="the time between two looks for VMs that were destroyed long ago",
)
START_TIMEOUT = Setting(
    "vm", "start.timeout", 300, unit="s", minimum=5, maximum=86_400, doc="how long starting a VM on its host may take"
)
