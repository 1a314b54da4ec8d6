"""Requests that are held open: long polls and event streams. A node that stops ends them at once, with an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from cairn.kernel.error import CairnError, ErrorKind

T = TypeVar("T")


class Stopping(CairnError):
    """``node.stopping``: the node stops before there was a result."""

    def __init__(self) -> None:
        super().__init__(
            "node.stopping",
            "This node is stopping. Nothing that was accepted is lost; ask again when it is back, or ask another node.",
            kind=ErrorKind.UNAVAILABLE,
        )


class Waiting:
    """All waits of one gateway that can take long."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()
        self._stopping = False

    def __len__(self) -> int:
        return len(self._tasks)

    async def on(self, work: Coroutine[object, object, T]) -> T:
        """Wait for the result of `work`.

        Raises:
            Stopping: the node stops before there is one.
        """
        if self._stopping:
            work.close()
            raise Stopping
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            if self._stopping:
                raise Stopping from None
            raise
        finally:
            self._tasks.discard(task)
            task.cancel()

    def stop(self) -> None:
        """End all waits, and let no new ones begin. Safe to repeat."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
