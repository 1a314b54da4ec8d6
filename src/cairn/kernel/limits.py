"""The kernel's own settings, and the settings of calls that are slow."""

from __future__ import annotations

from typing import NamedTuple

from cairn.kernel.config import Setting

_DAY = 86_400

API_PARALLELISM = Setting(
    "api", "parallelism", 500, minimum=1, maximum=100_000, doc="jobs that run at a time; the others wait their turn"
)
API_RESERVE = Setting(
    "api",
    "parallelism.reserve",
    10,
    unit="%",
    minimum=0,
    maximum=40,
    doc="the part of api.parallelism that is kept for calls that free something, and as much again for administrators",
)
API_SHARE = Setting(
    "api",
    "parallelism.accountShare",
    25,
    unit="%",
    minimum=1,
    maximum=100,
    doc="the part of api.parallelism, and of its reserve, that one account may have at a time",
)
BACKLOG = Setting(
    "job",
    "backlog",
    40_000,
    minimum=1,
    maximum=1_000_000,
    doc="jobs that may be open; a call beyond that is refused, and has to be repeated later",
)
BACKLOG_ACCOUNT = Setting(
    "job", "backlog.account", 1000, minimum=1, maximum=1_000_000, doc="jobs of one account that may be open"
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
FORMER_UUID_RETENTION = Setting(
    "resource",
    "formerUuid.retention",
    90 * _DAY,
    unit="s",
    minimum=3600,
    maximum=3650 * _DAY,
    doc="how long the uuid of a resource that is gone is refused to other accounts",
)
UNDO_RETRY_INTERVAL = Setting(
    "flow", "undo.retryInterval", 60, unit="s", minimum=1, maximum=_DAY, doc="between two tries of an undo that failed"
)


class CallLimit(NamedTuple):
    """How many of a kind of call that is slow run at a time; a tuple, so that its settings are found where it stands."""

    in_all: Setting[int]
    of_account: Setting[int]


def call_limit(category: str, name: str, title: str, *, in_all: int, of_account: int) -> CallLimit:
    """Declare the limit of a kind of call. It stands in the owner's ``config.py``, and its messages name it (`ApiCommand.limit`).

    Args:
        category: ``image``.
        name: ``add``.
        title: what people call such jobs: ``images being fetched``.
        in_all: the default of how many run at a time.
        of_account: the default of how many of one account.
    """
    return CallLimit(
        in_all=Setting(category, f"{name}.parallelism", in_all, minimum=1, maximum=100_000, doc=f"{title} at a time"),
        of_account=Setting(
            category,
            f"{name}.parallelism.account",
            of_account,
            minimum=1,
            maximum=100_000,
            doc=f"{title} at a time for one account",
        ),
    )


#: of calls that put an agent on a machine: administrators' calls, and each takes minutes
CONNECT = call_limit("machine", "connect", "machines being added or reconnected by calls", in_all=50, of_account=50)
QUERY_TIMEOUT = Setting(
    "query", "timeout", 10, unit="s", minimum=1, maximum=600, doc="how long a query may take, its turn included"
)
