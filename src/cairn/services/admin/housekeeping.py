"""Housekeeping: once an hour, old jobs, events and former uuids are removed, and the database's statistics are made fresh.

One node of the cloud does it for all.
"""

from __future__ import annotations

from datetime import timedelta

from cairn.kernel import limits
from cairn.kernel.clock import Clock
from cairn.kernel.config import GlobalConfig
from cairn.kernel.event import Events
from cairn.kernel.jobs import Jobs
from cairn.kernel.loop import Loops
from cairn.kernel.resource import forget_former
from cairn.kernel.store.store import Store

_INTERVAL_SECONDS = 3600.0


def keep_house(loops: Loops, store: Store, clock: Clock, config: GlobalConfig, jobs: Jobs, events: Events) -> None:
    """Declare the chores. Each is a loop of its own, so that one that fails or takes long holds up no other."""

    async def clean_jobs() -> None:
        await jobs.clean()

    async def clean_former() -> None:
        await forget_former(store, clock.now() - timedelta(seconds=config.get(limits.FORMER_UUID_RETENTION)))

    for name, chore in (
        ("job cleaning", clean_jobs),
        ("event cleaning", events.clean),
        ("former uuid cleaning", clean_former),
        ("database statistics", store.optimize),
    ):
        loops.every(name, lambda: _INTERVAL_SECONDS, chore, once_per_cloud=True)
