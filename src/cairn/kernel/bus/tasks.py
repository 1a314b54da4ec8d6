"""Tasks that live as long as their owner and end with it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import Any

import structlog

_log = structlog.get_logger("cairn.task")


def being_cancelled() -> bool:
    """Whether somebody wants the current task to end; else a CancelledError in it is the news of something that it awaits."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class Tasks:
    """A set of named tasks. Each starts in an empty context: it is not part of the call that happened to start it."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run `work` in a task of its own. It should not raise; what it raises is logged, and ends nothing else."""
        task = asyncio.create_task(work, name=name, context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def cancel(self) -> None:
        """Cancel all, and do not wait."""
        for task in self._others():
            task.cancel()

    async def stop(self) -> None:
        """Cancel all and wait for their ends. Safe to repeat."""
        tasks = self._others()
        self.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def settle(self) -> None:
        """Wait until there are none."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.error("task.failed", name=task.get_name(), error=repr(error), exc_info=error)

    def _others(self) -> list[asyncio.Task[None]]:
        return [task for task in self._tasks if task is not asyncio.current_task()]
