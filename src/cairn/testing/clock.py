"""A clock that a test owns: time stands still until it is moved.

`VirtualClock` keeps its timers in a heap. `advance` moves from timer to timer in the order of their instants, and
lets every task that can run do so before it goes on, so that what a timer sets off is seen at the right instant.
Time also stands still while a thread works for the event loop (`asyncio.to_thread`, `run_in_executor`: a password that is
hashed, a file that is read): the loop is idle then, but what the thread finds may be due before any timer. So no deadline
passes because a machine is slow. Other things outside of the event loop (sockets, processes, threads that were started in
another way) are not waited for.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable, Sized
from concurrent.futures import Executor
from datetime import UTC, datetime, timedelta
from typing import TypeVar, cast
from weakref import WeakKeyDictionary

T = TypeVar("T")

START = datetime(2026, 1, 1, tzinfo=UTC)

#: How often others are let run where the loop cannot tell whether it is idle (uvloop).
_YIELDS = 200
#: How long a thread may work, in real seconds; one that waits for the clock itself would never end.
_THREAD_SECONDS = 120

_Work = set["asyncio.Future[object]"]
#: what threads are doing for each event loop
_in_threads: WeakKeyDictionary[asyncio.AbstractEventLoop, _Work] = WeakKeyDictionary()


def _thread_work(loop: asyncio.AbstractEventLoop) -> _Work:
    """What threads are doing for the loop since the first call of this."""
    if loop not in _in_threads:
        work: _Work = set()
        begin = loop.run_in_executor

        def counted(executor: Executor | None, func: Callable[..., object], *args: object) -> asyncio.Future[object]:
            future = begin(executor, func, *args)
            work.add(future)
            future.add_done_callback(work.discard)
            return future

        loop.run_in_executor = counted  # type: ignore[assignment, method-assign]
        _in_threads[loop] = work
    return _in_threads[loop]


class VirtualTimer:
    """A call that is due at an instant of a `VirtualClock`."""

    __slots__ = ("_call", "when")

    def __init__(self, when: float, call: Callable[[], None]) -> None:
        self.when = when
        self._call: Callable[[], None] | None = call

    @property
    def cancelled(self) -> bool:
        """Whether the call was made already, or will not be."""
        return self._call is None

    def cancel(self) -> None:
        """Do not make the call. Safe to repeat, and after the call was made."""
        self._call = None

    def fire(self) -> None:
        """Make the call, once."""
        call, self._call = self._call, None
        if call is not None:
            call()


class VirtualClock:
    """A `cairn.kernel.clock.Clock` whose time moves only by `advance` and `run`.

    Args:
        start: the time of day at the beginning, aware.
    """

    def __init__(self, start: datetime = START) -> None:
        self._start = start
        self._elapsed = 0.0
        self._timers: list[tuple[float, int, VirtualTimer]] = []
        self._order = itertools.count()

    def now(self) -> datetime:
        """The time of day, UTC, aware."""
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock was moved by `seconds`. 0 or less lets others run once."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.call_later(seconds, lambda: None if woken.done() else woken.set_result(None))
        try:
            await woken
        finally:
            timer.cancel()

    def call_later(self, seconds: float, call: Callable[[], None]) -> VirtualTimer:
        """Have `call` called once the clock was moved by `seconds` (0 or less: at the next move)."""
        timer = VirtualTimer(self._elapsed + max(seconds, 0.0), call)
        heapq.heappush(self._timers, (timer.when, next(self._order), timer))
        return timer

    def pending(self) -> int:
        """How many timers are waiting; for tests that nothing is left over."""
        return sum(1 for _, _, timer in self._timers if not timer.cancelled)

    async def advance(self, seconds: float) -> None:
        """Move the clock by `seconds`, firing what becomes due in order; tasks run in between. 0 only lets them run."""
        target = self._elapsed + seconds
        await self.settle()
        while (when := self._next()) is not None and when <= target:
            self._fire_next()
            await self.settle()
        self._elapsed = target
        await self.settle()

    async def run(self, work: Awaitable[T], *, limit_seconds: float = 86_400.0) -> T:
        """Await `work`, moving the clock to the next timer whenever nothing else can run.

        Raises:
            TimeoutError: `work` waits for something that no timer brings, or for longer than `limit_seconds`.
        """
        future = asyncio.ensure_future(work)
        limit = self._elapsed + limit_seconds
        try:
            await self.settle()
            while not future.done():
                when = self._next()
                if when is None or when > limit:
                    raise TimeoutError(f"stuck at {self._elapsed:g} s: the next timer is {when}, the limit {limit:g} s")
                self._fire_next()
                await self.settle()
            return future.result()
        finally:
            future.cancel()

    async def settle(self) -> None:
        """Let every task that can run do so, and threads end what they do, without moving the clock.

        Raises:
            TimeoutError: a thread does not end.
        """
        loop = asyncio.get_running_loop()
        in_threads = _thread_work(loop)
        ready = cast("Sized | None", getattr(loop, "_ready", None))
        await _let_run(ready)
        while in_threads:
            done, _ = await asyncio.wait(in_threads, timeout=_THREAD_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                raise TimeoutError(f"a thread does not end within {_THREAD_SECONDS} s; does it wait for this clock?")
            await _let_run(ready)

    def _next(self) -> float | None:
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def _fire_next(self) -> None:
        when, _, timer = heapq.heappop(self._timers)
        self._elapsed = max(self._elapsed, when)
        timer.fire()


async def _let_run(ready: Sized | None) -> None:
    """Let every task that can run do so. `ready`: the loop's calls that can be made; None: it does not tell."""
    await asyncio.sleep(0)
    if ready is None:
        for _ in range(_YIELDS):
            await asyncio.sleep(0)
        return
    while len(ready):  # noqa: ASYNC110 - there is no event for "nothing is ready"
        await asyncio.sleep(0)
