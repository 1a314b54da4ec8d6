"""Loops: work that is done again and again as long as the node runs, and that nothing ends before.

A service declares one in its `build`, and the node starts it, supervises it and stops it::

    node.loops.every("session sweeper", lambda: 3600.0, sessions.sweep)

Where a loop runs
    On each node; what belongs to one resource is then done for those that the ring gives to this node. A loop whose work is for
    the whole cloud is declared ``once_per_cloud=True``: it runs on the one node that the ring names for it. Waking it on
    another node wakes it there.

What a loop promises
    Whatever the work raises is logged and counted, and the work is tried again: after 1 s, 2 s, 4 s, and so on, up to a
    minute. An interval that is no number of seconds is replaced by a minute. So neither a bug in the work nor a wrong setting
    ends a loop or makes it spin. Each loop has a task of its own, so work that is slow or hangs holds up no other.

What is seen of it
    ``cairn_loop_failures_total`` and ``cairn_loop_last_success_seconds``, by loop; one line in the log for each failure; and
    `Loops.behind`, for ``/readyz`` and ``cairn status``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from math import isfinite

import structlog

from cairn.kernel.bus.tasks import Tasks, being_cancelled
from cairn.kernel.clock import Clock
from cairn.kernel.duty import Duties
from cairn.kernel.error import CairnError
from cairn.kernel.ids import NodeId
from cairn.kernel.metrics import Metrics

_log = structlog.get_logger("cairn.loop")

Work = Callable[[], Awaitable[None]]

#: Between two rounds there is never less than this, and never more.
LEAST_SECONDS = 0.1
MOST_SECONDS = 86_400.0
#: for an interval that is no number of seconds
_INSTEAD_SECONDS = 60.0
_MOST_BACK_OFF_SECONDS = 60.0
#: A loop is behind when its last success is this many intervals ago, and a while for the work itself.
_BEHIND_INTERVALS = 3
_BEHIND_SECONDS = 60.0


class Loop:
    """One loop. Made by `Loops.every`."""

    def __init__(
        self,
        name: str,
        seconds: Callable[[], float],
        work: Work,
        clock: Clock,
        metrics: Metrics,
        *,
        at_once: bool,
        is_here: Callable[[], bool] = lambda: True,
        elsewhere: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self._is_here = is_here
        self._elsewhere = elsewhere
        self._was_here = True
        self.failures = 0  #: since the last success
        self._seconds = seconds
        self._work = work
        self._clock = clock
        self._metrics = metrics
        self._at_once = at_once
        self._wanted = asyncio.Event()
        self._complaint = ""  #: what was last said about the interval
        self._last_success = clock.monotonic()

    def wake(self) -> None:
        """Have the work done soon, without waiting for the interval to pass.

        Safe to repeat: calls while the work is being done make one more round together. After a failure the pause is kept.
        """
        self._wanted.set()
        if not self._is_here():
            self._elsewhere()

    def wake_here(self) -> None:
        """As `wake`, because of another node: it is passed on no further."""
        self._wanted.set()

    def members_changed(self) -> None:
        """Begin at once with what another node has done until now, if that is how the loop begins."""
        if self._at_once and self._is_here() and not self._was_here:
            self._wanted.set()
        self._was_here = self._is_here()

    @property
    def age_seconds(self) -> float:
        """The time since the work was last done without an error, or since the loop began."""
        return self._clock.monotonic() - self._last_success

    @property
    def is_behind(self) -> bool:
        """Whether the work should have been done long ago: it fails, or hangs."""
        return self.age_seconds > _BEHIND_INTERVALS * self._interval() + _BEHIND_SECONDS

    async def run(self) -> None:
        """Do the work again and again, until cancelled."""
        self._last_success = self._clock.monotonic()
        if not self._at_once:
            await self._wait()
        while True:
            self._wanted.clear()
            try:
                if self._is_here():
                    await self._work()
            except asyncio.CancelledError as error:
                if being_cancelled():
                    raise
                self._note(error)  # something that the work waited for was cancelled, not this loop
            except Exception as error:  # noqa: BLE001 (whatever the work raises, the loop goes on)
                self._note(error)
            else:
                self.failures = 0
                self._last_success = self._clock.monotonic()
            await self._wait()

    async def _wait(self) -> None:
        if self.failures:
            await self._clock.sleep(min(2.0 ** min(self.failures - 1, 10), _MOST_BACK_OFF_SECONDS))
            return
        timer = self._clock.call_later(self._interval(), self._wanted.set)
        try:
            await self._wanted.wait()
        finally:
            timer.cancel()

    def _interval(self) -> float:
        try:
            seconds = float(self._seconds())
        except Exception as error:  # noqa: BLE001 (a setting that cannot be read must not end the loop)
            return self._instead(repr(error))
        if not isfinite(seconds) or seconds <= 0:
            return self._instead(repr(seconds))
        self._complaint = ""
        return min(max(seconds, LEAST_SECONDS), MOST_SECONDS)

    def _instead(self, complaint: str) -> float:
        if complaint != self._complaint:
            self._complaint = complaint
            _log.warning("loop.no-interval", loop=self.name, found=complaint, instead_seconds=_INSTEAD_SECONDS)
        return _INSTEAD_SECONDS

    def _note(self, error: BaseException) -> None:
        self.failures += 1
        _tell(self._metrics, self.name, error, failures=self.failures)


class Loops:
    """All loops of one node. They start with it and stop with it.

    Args:
        clock: that intervals are measured by.
        metrics: where failures are counted.
        duties: which of the loops that run once in the cloud run here; None: all.
        elsewhere: has another node wake its loop of that name.
    """

    def __init__(
        self,
        clock: Clock,
        metrics: Metrics,
        duties: Duties | None = None,
        elsewhere: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._clock = clock
        self._metrics = metrics
        self._duties = duties or Duties(NodeId("alone"))
        self._elsewhere = elsewhere
        self._duties.listen(self._members_changed)
        self._loops: dict[str, Loop] = {}
        self._tasks = Tasks()
        self._started = False
        metrics.loop_success.read_from(lambda: {(loop.name,): loop.age_seconds for loop in self._loops.values()})

    def every(
        self,
        name: str,
        seconds: Callable[[], float],
        work: Work,
        *,
        at_once: bool = False,
        once_per_cloud: bool = False,
    ) -> Loop:
        """Have `work` done every so many `seconds`, counted from its end to its next begin, as long as the node runs.

        Args:
            name: what people call it: ``session sweeper``. Each loop has its own.
            seconds: asked before each pause, so that a setting acts at the next one; `Loop.wake` makes it act at once. From
                0.1 s to a day; what is beyond is taken as the nearest of these.
            work: begins in an empty context: it is part of no call. It may raise what it likes.
            at_once: whether the first round is made when the node starts; else it is an interval later.
            once_per_cloud: whether one node does it for all. Two may do it at a time for as long as they do not agree yet which
                nodes there are, so the work is safe to repeat.

        Raises:
            TypeError: there is a loop of that name.
        """
        if name in self._loops:
            raise TypeError(f"there are two loops with the name {name!r}; each has to have its own")
        duty = f"loop:{name}"
        loop = Loop(
            name,
            seconds,
            work,
            self._clock,
            self._metrics,
            at_once=at_once,
            is_here=partial(self._duties.is_mine, duty) if once_per_cloud else lambda: True,
            elsewhere=partial(self._elsewhere, name),
        )
        self._loops[name] = loop
        if self._started:
            self._begin(loop)
        return loop

    def start(self) -> None:
        """Begin all loops, and from now on each that is declared."""
        self._started = True
        for loop in self._loops.values():
            self._begin(loop)

    async def stop(self) -> None:
        """Cancel what is being done, and wait for its clean-up. Safe to repeat."""
        self._started = False
        await self._tasks.stop()

    def wake(self, names: Iterable[str]) -> None:
        """Wake loops of these names, because another node wants it; one that there is not is left out."""
        for name in names:
            if name in self._loops:
                self._loops[name].wake_here()

    def _members_changed(self) -> None:
        for loop in self._loops.values():
            loop.members_changed()

    def failed(self, name: str, error: BaseException) -> None:
        """Count and log an error of other work in the background, as that of a loop with this name."""
        _tell(self._metrics, name, error)

    def behind(self) -> list[Loop]:
        """The loops whose work should have been done long ago; empty before the start."""
        return [loop for loop in self._loops.values() if loop.is_behind] if self._started else []

    def _begin(self, loop: Loop) -> None:
        self._tasks.start(loop.run(), loop.name)


def _tell(metrics: Metrics, name: str, error: BaseException, **more: int) -> None:
    metrics.loop_failures.add(name)
    if isinstance(error, CairnError):
        _log.warning("loop.failed", loop=name, code=error.code, error=str(error), operator=error.operator, **more)
    else:
        _log.error("loop.failed", loop=name, error=repr(error), exc_info=error, **more)
