"""The settings of hosts: capacity, pings and reconnecting."""

from __future__ import annotations

from cairn.kernel.config import Setting
from cairn.kernel.machine.config import machine_settings

MACHINE = machine_settings("host", "host", ping_parallelism=100)
SYNC_RETRY = Setting(
    "host",
    "sync.retryInterval",
    60,
    unit="s",
    minimum=1,
    maximum=86_400,
    doc="how often parts of hosts that could not be brought in line (networks, debts) are tried again",
)
CPU_RATIO = Setting(
    "host",
    "cpu.overProvisioning.ratio",
    10.0,
    minimum=1,
    maximum=1000,
    doc="virtual CPUs given out per logical processor; counts at once, for all hosts",
)
RESERVED_MEMORY = Setting(
    "host",
    "reservedMemory",
    1 << 30,
    unit="bytes",
    minimum=0,
    maximum=1 << 50,
    doc="memory of each host kept from VMs; counts at once, for all hosts",
)
