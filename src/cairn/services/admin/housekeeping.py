"""Housekeeping: once an hour, old jobs and events are removed, and the database's statistics are made fresh."""

from __future__ import annotations

from cairn.kernel.event import Events
from cairn.kernel.jobs import Jobs
from cairn.kernel.loop import Loops
from cairn.kernel.store.store import Store

_INTERVAL_SECONDS = 3600.0


def keep_house(loops: Loops, store: Store, jobs: Jobs, events: Events) -> None:
    """Declare the chores. Each is a loop of its own, so that one that fails or takes long holds up no other."""

    async def clean_jobs() -> None:
        await jobs.clean()

    for name, chore in (
        ("job cleaning", clean_jobs),
        ("event cleaning", events.clean),
        ("database statistics", store.optimize),
    ):
        loops.every(name, lambda: _INTERVAL_SECONDS, chore)
