"""Settings of hosts."""

from __future__ import annotations

from cairn.kernel.config import Setting

PARALLELISM = Setting(
    "host", "parallelism", 10, minimum=1, maximum=1000, doc="agent commands that run on a host at a time"
)
COMMAND_TIMEOUT = Setting(
    "host", "command.timeout", 300, unit="s", minimum=1, doc="how long an agent may take for a command"
)
PING_INTERVAL = Setting(
    "host", "ping.interval", 60, unit="s", minimum=1, maximum=3600, doc="between two pings of a host"
)
PING_TIMEOUT = Setting("host", "ping.timeout", 10, unit="s", minimum=1, doc="how long a ping may take")
PING_FAILURES = Setting(
    "host", "ping.maxFailure", 3, minimum=1, maximum=100, doc="failed pings in a row that make a host Disconnected"
)
PING_PARALLELISM = Setting("host", "ping.parallelismDegree", 100, minimum=1, doc="hosts that are pinged at a time")
AUTO_RECONNECT = Setting("host", "connection.autoReconnectOnError", True, doc="whether lost hosts are reconnected")
RECONNECT_MAX_INTERVAL = Setting(
    "host",
    "reconnect.maxInterval",
    600,
    unit="s",
    minimum=1,
    doc="the longest wait between two tries to reconnect a host",
)
CPU_RATIO = Setting(
    "host",
    "cpu.overProvisioning.ratio",
    10.0,
    minimum=1,
    maximum=1000,
    doc="virtual CPUs given out per logical processor",
)
RESERVED_MEMORY = Setting(
    "host", "reservedMemory", 1 << 30, unit="bytes", minimum=0, doc="memory of each host kept from VMs"
)

ALL = (
    PARALLELISM,
    COMMAND_TIMEOUT,
    PING_INTERVAL,
    PING_TIMEOUT,
    PING_FAILURES,
    PING_PARALLELISM,
    AUTO_RECONNECT,
    RECONNECT_MAX_INTERVAL,
    CPU_RATIO,
    RESERVED_MEMORY,
)
