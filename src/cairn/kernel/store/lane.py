"""The readers that answer queries from outside: threads and connections of their own, with fair turns and a deadline.

However many queries somebody asks, and however long each of them takes, no read of the node itself waits for them, and
each other asker gets a turn: there is one turn at a time for each account, never all readers for accounts, and never
all for administrators.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.store.group import TransactionRunner, WorkItem
from cairn.kernel.store.line import Line

T = TypeVar("T")
READERS = 3
MOST_WAITING = 200

Asker = str | None  # an account, or None: all administrators together


class FairQueue(Generic[T]):
    """What askers want done, in fair turns. Used by several threads.

    Args:
        workers: how many take from it, 2 at least.
        most_waiting: of one asker.
    """

    def __init__(self, workers: int, most_waiting: int = MOST_WAITING) -> None:
        self._workers = workers
        self._most_waiting = most_waiting
        self._waiting: OrderedDict[Asker, deque[T]] = OrderedDict()
        self._running: Counter[Asker] = Counter()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, asker: Asker, work: T) -> None:
        """Have `work` done in its turn.

        Raises:
            CairnError: ``query.too-many``: too much of this asker's is waiting.
        """
        with self._changed:
            waiting = self._waiting.setdefault(asker, deque())
            if len(waiting) >= self._most_waiting:
                raise CairnError(
                    "query.too-many",
                    f"{len(waiting)} queries of this account wait already. Wait for their answers before you ask more.",
                    kind=ErrorKind.EXHAUSTED,
                )
            waiting.append(work)
            self._changed.notify()

    def get(self) -> tuple[Asker, T] | None:
        """Wait for the next whose turn it is; `done` must be called after it. None once the queue is closed and empty."""
        with self._changed:
            while True:
                asker = self._next()
                if not isinstance(asker, _Nobody):
                    return asker, self._take(asker)
                if self._closed and not self._waiting:
                    self._changed.notify_all()
                    return None
                self._changed.wait()

    def done(self, asker: Asker) -> None:
        """The work that this asker had in turn has ended."""
        with self._changed:
            self._running[asker] -= 1
            if not self._running[asker]:
                del self._running[asker]
            self._changed.notify_all()

    def close(self) -> None:
        """Take no more; `get` gives what still waits, and then None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _next(self) -> Asker | _Nobody:
        """The asker whose turn it is. Few are passed over, as few can have something running."""
        most = self._workers - 1
        admins = self._running[None] < most
        if sum(self._running.values()) - self._running[None] >= most:
            return None if admins and None in self._waiting else _NOBODY
        for asker in self._waiting:
            if admins if asker is None else not self._running[asker]:
                return asker
        return _NOBODY

    def _take(self, asker: Asker) -> T:
        waiting = self._waiting[asker]
        work = waiting.popleft()
        if waiting:
            self._waiting.move_to_end(asker)
        else:
            del self._waiting[asker]
        self._running[asker] += 1
        return work


class _Nobody:
    """Nobody's turn."""


_NOBODY = _Nobody()


class QueryLane:
    """Runs read-only functions of askers, each until its deadline at the latest.

    Args:
        runner: runs them.
        answer: is called, on the lane's thread, with each that has ended.
    """

    def __init__(self, runner: TransactionRunner, answer: Callable[[list[WorkItem[object]]], None]) -> None:
        self._runner = runner
        self._answer = answer
        self._closing = False
        self._queue: FairQueue[tuple[WorkItem[object], float]] = FairQueue(READERS)
        self._lines = [Line(runner.driver, read_only=True) for _ in range(READERS)]
        self._threads = [
            threading.Thread(target=self._serve, args=(line,), name=f"query-{number}", daemon=True)
            for number, line in enumerate(self._lines)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, asker: Asker, item: WorkItem[object], until: float) -> None:
        """Run `item` in its turn, and no longer than `until` (the clock's `monotonic`).

        Raises:
            CairnError: ``query.too-many``.
        """
        self._queue.put(asker, (item, until))

    def close(self) -> None:
        """Break off what runs and what waits, and end. Blocks until then, and must not be called on the event loop."""
        self._closing = True
        self._queue.close()
        for thread in self._threads:
            thread.join()
        for line in self._lines:
            line.close()

    def _over(self, until: float) -> bool:
        return self._closing or self._runner.clock.monotonic() >= until

    def _serve(self, line: Line) -> None:
        while (found := self._queue.get()) is not None:
            asker, (item, until) = found
            try:
                if item.future is None or not item.future.done():  # else nobody waits for it any more
                    left = until - self._runner.clock.monotonic()
                    self._runner.read(line, item, partial(self._over, until), left)
            except Exception as error:  # noqa: BLE001 (the asker gets it; the thread goes on)
                item.error = error
            finally:
                self._queue.done(asker)
            self._answer([item])
