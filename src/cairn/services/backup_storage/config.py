"""Settings of backup storage."""

from __future__ import annotations

from cairn.kernel.config import Setting

_CATEGORY = "backupStorage"

PARALLELISM = Setting(
    _CATEGORY, "parallelism", 10, minimum=1, maximum=1000, doc="agent commands that run on a backup storage at a time"
)
COMMAND_TIMEOUT = Setting(
    _CATEGORY, "command.timeout", 300, unit="s", minimum=1, doc="how long an agent may take for a command"
)
PING_INTERVAL = Setting(
    _CATEGORY, "ping.interval", 60, unit="s", minimum=1, maximum=3600, doc="between two pings of a backup storage"
)
PING_TIMEOUT = Setting(_CATEGORY, "ping.timeout", 10, unit="s", minimum=1, doc="how long a ping may take")
PING_FAILURES = Setting(
    _CATEGORY,
    "ping.maxFailure",
    3,
    minimum=1,
    maximum=100,
    doc="failed pings in a row that make a backup storage Disconnected",
)
PING_PARALLELISM = Setting(
    _CATEGORY, "ping.parallelismDegree", 50, minimum=1, doc="backup storages that are pinged at a time"
)
AUTO_RECONNECT = Setting(
    _CATEGORY, "connection.autoReconnectOnError", True, doc="whether lost backup storages are reconnected"
)
RECONNECT_MAX_INTERVAL = Setting(
    _CATEGORY,
    "reconnect.maxInterval",
    600,
    unit="s",
    minimum=1,
    doc="the longest wait between two tries to reconnect a backup storage",
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
)
