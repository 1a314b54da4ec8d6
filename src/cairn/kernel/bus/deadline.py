"""Deadlines by the thousand: a timer object for each would cost more than the call that it limits.

Bus, jobs, queues, undos and exchanges with agents have a wheel each, so that one can be stopped without the others.

Deadlines lie in slots of one second, as sets, so that adding and taking out cost one set operation each; nearly all
are taken out long before their slot comes. A slot whose second has come is opened into a heap, from which deadlines
expire at their exact instants. The clock is asked for one timer only: the nearest of those.

`limit` ends work at a deadline the way `asyncio.timeout` does: the wheel cancels the task, and the very `limit` that
set the deadline turns the cancellation into an error. Which deadline a task is watched for is known per task: one that
came in with another task's context is not watched in this one.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Coroutine
from contextvars import ContextVar
from itertools import count
from math import floor, inf
from typing import Any, TypeVar

import structlog

from cairn.kernel.clock import Clock, TimerHandle
from cairn.kernel.error import CairnError, ErrorKind

T = TypeVar("T")
_log = structlog.get_logger("cairn.deadline")

#: A deadline this near counts as due: timers may fire a little early, and sums of floats are not exact.
_TOLERANCE_SECONDS = 0.0005


class Expiring:
    """Something that ends at an instant unless it is taken off the wheel before."""

    __slots__ = ("armed", "at")

    def __init__(self, at: float) -> None:
        #: the instant by the clock's monotonic(), in seconds
        self.at = at
        #: whether it is on a wheel
        self.armed = False

    def expire(self) -> None:
        """Called once from the event loop when the instant has come. Must not raise."""
        raise NotImplementedError


class DeadlineWheel:
    """Calls `expire` of each entry when its time has come."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._slots: dict[int, set[Expiring]] = {}  # not opened yet
        self._order: list[int] = []  # a heap of their numbers
        self._near: list[tuple[float, int, Expiring]] = []  # a heap of what lay in opened slots, taken-out ones too
        self._opened: float = -inf  # the last slot opened
        self._sequence = count()
        self._timer: TimerHandle | None = None
        self._timer_at = inf

    def add(self, entry: Expiring) -> None:
        """Put `entry` on the wheel. A deadline that has passed expires on the next turn of the loop.

        One that was taken off, or has expired, may be put on again, for another instant.
        """
        entry.armed = True
        number = floor(entry.at)
        if number <= self._opened:
            heapq.heappush(self._near, (entry.at, next(self._sequence), entry))
            if entry.at < self._timer_at:
                self._arm(entry.at)
            return
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = set()
            heapq.heappush(self._order, number)
            if number < self._timer_at:
                self._arm(number)
        slot.add(entry)

    def discard(self, entry: Expiring) -> None:
        """Take `entry` off. Safe to repeat, and after it expired."""
        entry.armed = False
        slot = self._slots.get(floor(entry.at))
        if slot is not None:
            slot.discard(entry)

    def stop(self) -> None:
        """Forget all entries; none of them will expire."""
        self._slots.clear()
        self._order.clear()
        self._near.clear()
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = None, inf

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._clock.call_later(max(0.0, at - self._clock.monotonic()), self._fire)

    def _fire(self) -> None:
        self._timer, self._timer_at = None, inf
        now = self._clock.monotonic() + _TOLERANCE_SECONDS
        self._open(now)
        due: list[tuple[float, Expiring]] = []
        while self._near and (self._near[0][0] <= now or not self._near[0][2].armed):
            at, _, entry = heapq.heappop(self._near)
            if entry.armed:
                due.append((at, entry))
        for at, entry in due:
            if entry.armed and entry.at == at:  # else it was taken off meanwhile, and maybe put on for another instant
                entry.armed = False
                try:
                    entry.expire()
                except Exception as error:  # noqa: BLE001 (or no deadline on this wheel would ever come again)
                    _log.error("deadline.failed", entry=type(entry).__name__, error=repr(error), exc_info=error)
        self._arm_next()

    def _open(self, now: float) -> None:
        while self._order and self._order[0] <= now:
            self._opened = heapq.heappop(self._order)
            for entry in self._slots.pop(int(self._opened)):
                heapq.heappush(self._near, (entry.at, next(self._sequence), entry))

    def _arm_next(self) -> None:
        while self._order and not self._slots[self._order[0]]:
            del self._slots[heapq.heappop(self._order)]
        nearest = min(self._near[0][0] if self._near else inf, self._order[0] if self._order else inf)
        if nearest < self._timer_at:
            self._arm(nearest)


class _Watch(Expiring):
    """A deadline that cancels the task which set it."""

    __slots__ = ("expired", "requests", "task")

    def __init__(self, at: float, task: asyncio.Task[Any]) -> None:
        super().__init__(at)
        self.task = task
        self.requests = task.cancelling()
        self.expired = False

    def expire(self) -> None:
        self.expired = True
        self.task.cancel()


_WATCH: ContextVar[_Watch | None] = ContextVar("cairn-watch", default=None)


def is_watched(at: float) -> bool:
    """Whether something cancels the current task at `at` or before, so that nothing more is needed for that."""
    watch = _WATCH.get()
    return watch is not None and watch.at <= at and not watch.expired and watch.task is asyncio.current_task()


def watch_expired() -> bool:
    """Whether the current task is being cancelled because its deadline passed."""
    watch = _WATCH.get()
    return watch is not None and watch.expired and watch.task is asyncio.current_task()


async def limit(wheel: DeadlineWheel, at: float, what: str, work: Coroutine[Any, Any, T]) -> T:
    """Await `work` in the current task, and cancel it at the instant `at`.

    The answer comes when the work has ended, its clean-up included. An answer that the work still gives is returned.

    Raises:
        CairnError: ``bus.deadline-passed``, with `what` in its sentence.
    """
    task = asyncio.current_task()
    assert task is not None, "work is awaited in a task"
    watch = _Watch(at, task)
    wheel.add(watch)
    token = _WATCH.set(watch)
    try:
        answer = await work
    except BaseException as error:
        if watch.expired:
            others = task.uncancel() > watch.requests
            if isinstance(error, asyncio.CancelledError) and not others:
                raise deadline_passed(what) from None
            if isinstance(error, CairnError):
                raise deadline_passed(what, error) from error
        raise
    finally:
        wheel.discard(watch)
        _WATCH.reset(token)
    if watch.expired:
        task.uncancel()
    return answer


def deadline_passed(what: str, cause: CairnError | None = None) -> CairnError:
    """``bus.deadline-passed``: the time for `what` is over."""
    return CairnError(
        "bus.deadline-passed",
        f"{what} was not done before its deadline and has been stopped. Look at what it waited for, or give it more time.",
        kind=ErrorKind.TIMEOUT,
        details={"task": what},
        cause=cause,
    )
