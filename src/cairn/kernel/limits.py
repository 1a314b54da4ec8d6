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
EVENT_TRIES = Setting(
    "event",
    "delivery.maxTries",
    8,
    minimum=1,
    maximum=100,
    doc="how often a durable subscriber is told of an event that it fails at, before that is set aside",
)
EVENT_RESOURCES_AT_A_TIME = Setting(
    "event",
    "delivery.maxResources",
    200,
    minimum=1,
    maximum=10_000,
    doc="of how many resources a durable subscriber is told at a time, those included whose events it is told again",
)
EVENT_SET_ASIDE_RETENTION = Setting(
    "event",
    "setAside.retention",
    30 * _DAY,
    unit="s",
    minimum=60,
    maximum=3650 * _DAY,
    doc="how long events that were set aside are kept",
)
EVENT_SUBSCRIBER_RETENTION = Setting(
    "event",
    "subscriber.retention",
    30 * _DAY,
    unit="s",
    minimum=3600,
    maximum=3650 * _DAY,
    doc="how long events are kept for a durable subscriber whose plugin is gone; then it is forgotten",
)
EVENT_STREAMS = Setting(
    "event",
    "streams.max",
    1000,
    minimum=1,
    maximum=100_000,
    doc="streams of events that are open at a time; administrators may open more",
)
EVENT_STREAMS_OF_ACCOUNT = Setting(
    "event",
    "streams.maxPerAccount",
    20,
    minimum=1,
    maximum=100_000,
    doc="streams of events that an account may have open",
)
UNDO_RETRY_INTERVAL = Setting(
    "flow", "undo.retryInterval", 60, unit="s", minimum=1, maximum=_DAY, doc="between two tries of an undo that failed"
)
