"""Housekeeping: once an hour, old jobs and events are removed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from cairn.kernel.clock import Clock
from cairn.kernel.error import CairnError
from cairn.kernel.event import Events
from cairn.kernel.jobs import Jobs
from cairn.kernel.store.store import Store

_INTERVAL_SECONDS = 3600.0

_log = structlog.get_logger("cairn.housekeeping")


class Housekeeping:
    """Removes old jobs and events, and keeps the database's statistics fresh. Runs as long as the node does."""

    def __init__(self, clock: Clock, store: Store, jobs: Jobs, events: Events) -> None:
        self._clock = clock
        self._store = store
        self._jobs = jobs
        self._events = events
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin the hourly rounds; the first is in an hour."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="housekeeping")

    async def stop(self) -> None:
        """Stop the hourly rounds; one that is under way is broken off."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(_INTERVAL_SECONDS)
            for chore in (self._clean_jobs, self._events.clean, self._store.optimize):
                await _try(chore)

    async def _clean_jobs(self) -> None:
        await self._jobs.clean()


async def _try(chore: Callable[[], Awaitable[None]]) -> None:
    try:
        await chore()
    except CairnError as error:
        _log.warning("housekeeping.failed", chore=chore.__name__, error=str(error))
