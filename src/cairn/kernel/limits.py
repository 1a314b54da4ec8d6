"""The kernel's own settings."""

from __future__ import annotations

from cairn.kernel.config import Setting

_DAY = 86_400

API_PARALLELISM = Setting(
    "api", "parallelism", 500, minimum=1, maximum=100_000, doc="jobs that run at a time; the others wait their turn"
)
JOB_RETENTION = Setting(
    "job", "retention", 7 * _DAY, unit="s", minimum=60, maximum=3650 * _DAY, doc="how long ended jobs are kept"
)
EVENT_RETENTION = Setting(
    "event", "retention", 7 * _DAY, unit="s", minimum=60, maximum=3650 * _DAY, doc="how long events are kept"
)
UNDO_RETRY_INTERVAL = Setting(
    "flow", "undo.retryInterval", 60, unit="s", minimum=1, maximum=_DAY, doc="between two tries of an undo that failed"
)
