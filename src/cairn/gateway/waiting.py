"""Requests that are held open: long polls and event streams. A node that stops ends them at once, with an answer.

A stream has a task that waits. A call that waits for the end of a job of this node has none: tens of thousands of them may be
open, so its task ends, and what is left of it is one `Held`. When the job has ended, its time is over, or the node stops, a new
task makes the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Protocol, TypeVar

from starlette.responses import Response

from cairn.kernel.bus.deadline import DeadlineWheel, Expiring
from cairn.kernel.clock import Clock
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.ids import JobId
from cairn.kernel.job import Job
from cairn.kernel.open_jobs import Waiter

T = TypeVar("T")
Answer = Callable[[float, Job | None], Awaitable[Response]]
Begin = Callable[[float, Job | None], None]


class Stopping(CairnError):
    """``node.stopping``: the node stops before there was a result."""

    def __init__(self) -> None:
        super().__init__(
            "node.stopping",
            "This node is stopping. Nothing that was accepted is lost; ask again when it is back, or ask another node.",
            kind=ErrorKind.UNAVAILABLE,
        )


class JobWaits(Protocol):
    """The ends of this node's jobs."""

    def watch(self, job: JobId, waiter: Waiter) -> bool:
        """Wake `waiter` when the job ends here or goes to another node. False: it is not here."""

    def unwatch(self, job: JobId, waiter: Waiter) -> None:
        """Do not wake it. Safe to repeat."""


class Later:
    """What an endpoint returns for an answer that waits for the end of a job.

    Args:
        job: the job.
        seconds: how long the answer may wait.
        answer: makes it, and waits so many seconds more if the job is open still. It is given the job's row, if that has
            ended and is known. It raises what the endpoint raises.
    """

    __slots__ = ("answer", "job", "seconds")

    def __init__(self, job: JobId, seconds: float, answer: Answer) -> None:
        self.job = job
        self.seconds = seconds
        self.answer = answer


class Held(Expiring):
    """All that is left of a request that is answered later. On the wheel it is the end of its time."""

    __slots__ = ("_begin", "_waiting", "job")

    def __init__(self, waiting: Waiting, job: JobId, at: float, begin: Begin) -> None:
        super().__init__(at)
        self.job = job
        self._waiting = waiting
        self._begin: Begin | None = begin

    def wake(self, ended: Job | None = None) -> None:
        """Begin the answer. Safe to repeat."""
        begin, self._begin = self._begin, None
        left = self._waiting.release(self)
        if begin is not None:
            begin(left, ended)

    def expire(self) -> None:
        """The time is over."""
        self.wake()

    def drop(self) -> None:
        """Forget it: the client has gone."""
        self._begin = None
        self._waiting.release(self)


class Waiting:
    """All waits of one gateway that can take long.

    Args:
        clock: for the time that they may take.
        jobs: for whose ends requests are held.
    """

    def __init__(self, clock: Clock, jobs: JobWaits) -> None:
        self._clock = clock
        self._jobs = jobs
        self._wheel = DeadlineWheel(clock)
        self._held: set[Held] = set()
        self._tasks: set[asyncio.Task[object]] = set()
        self._stopping = False

    def __len__(self) -> int:
        return len(self._tasks) + len(self._held)

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

    def hold(self, later: Later, begin: Begin) -> Held | None:
        """Hold a request until its job ends, its time is over, or the node stops.

        Args:
            later: what it waits for.
            begin: begins the answer, with the seconds that are left of its time, and the job as it ended. Called once at most.

        Returns:
            What is held; None: it cannot be, because its job is not on this node, or not any more.
        """
        held = Held(self, later.job, self._clock.monotonic() + later.seconds, begin)
        if self._stopping or not self._jobs.watch(later.job, held):
            return None
        self._held.add(held)
        self._wheel.add(held)
        return held

    def release(self, held: Held) -> float:
        """Hold a request no longer. Returns the seconds that are left of its time. Safe to repeat."""
        self._held.discard(held)
        self._wheel.discard(held)
        self._jobs.unwatch(held.job, held)
        return max(0.0, held.at - self._clock.monotonic())

    def stop(self) -> None:
        """End all waits, and let no new ones begin. Safe to repeat."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        for held in list(self._held):
            held.wake()
        self._wheel.stop()
