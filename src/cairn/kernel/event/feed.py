"""Events for many listeners outside: one reader of the node, which hands each event to the streams that it concerns.

A stream that begins behind the reader, or that could not take what it was handed, reads pages by itself until it meets the
reader. So an event costs one read, however many streams are open, and a stream that is slow costs only its own reads. The
reader reads when an event was committed here that concerns a stream, and when other nodes have committed any, of which it hears
at once (`cairn.kernel.news`), or a second later at the latest. It is there as long as a stream is.

A stream meets the reader when it has all that the reader has handed out; both are looked at in the same turn of the loop, so
nothing falls in between.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from cairn.kernel.bus.tasks import Tasks
from cairn.kernel.clock import Clock
from cairn.kernel.event.log import EventLog
from cairn.kernel.event.model import EventRow
from cairn.kernel.event.subscriber import ends
from cairn.kernel.store.store import Store

#: between two signs of life of a stream in which nothing happens
HEARTBEAT_SECONDS: Final = 15.0
#: events that are kept for a stream which does not take them
BUFFER: Final = 1000
_AGAIN_SECONDS: Final = 1.0
_log = structlog.get_logger("cairn.event")

#: whose events, of which name; None: of all
_Key = tuple[str | None, str | None]


class _Ear:
    """What one stream wants to hear, and what it has been handed."""

    def __init__(self, after: int, names: frozenset[str], account: str | None) -> None:
        self.sequence = after  #: up to here it has everything
        self.names = names
        self.account = account
        self.fresh = asyncio.Event()
        self.attached = False  #: whether the reader hands it events
        self.rows: deque[EventRow] = deque()

    @property
    def keys(self) -> list[_Key]:
        """Under which the reader finds it."""
        return [(self.account, name) for name in self.names] or [(self.account, None)]

    def take(self) -> list[EventRow]:
        """What it has been handed."""
        rows = list(self.rows)
        self.rows.clear()
        return rows


class Feed:
    """The reader of one node, and the streams that it serves."""

    def __init__(self, store: Store, log: EventLog, clock: Clock) -> None:
        self._store = store
        self._log = log
        self._clock = clock
        self._ears: dict[_Key, set[_Ear]] = {}
        self._open = 0
        self._sequence = 0  # all events up to there were handed out
        self._fresh = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._tasks = Tasks()

    def __len__(self) -> int:
        """How many streams are open."""
        return self._open

    async def stop(self) -> None:
        """End the reader. Safe to repeat."""
        await self._tasks.stop()

    def happened(self, name: str, account: str | None) -> None:
        """An event was committed."""
        if any(key in self._ears for key in _keys(name, account)):
            self._fresh.set()

    def look(self) -> None:
        """There may be events that other nodes have committed."""
        if self._ears:
            self._fresh.set()

    async def stream(
        self, after: int, *, names: frozenset[str] = frozenset(), account: str | None = None
    ) -> AsyncIterator[EventRow | None]:
        """Events behind sequence number `after`, as they come; None about every 15 s in which there is none.

        Args:
            after: a sequence number.
            names: only events with these; empty: all.
            account: only events of this account; None: of everybody.
        """
        ear = _Ear(after, names, account)
        with self._listening(ear):
            beat = self._clock.monotonic() + HEARTBEAT_SECONDS
            while True:
                ear.fresh.clear()
                rows, upto = await self._next(ear)
                for row in rows:
                    beat = self._clock.monotonic() + HEARTBEAT_SECONDS
                    yield row
                ear.sequence = max(ear.sequence, upto)
                if self._clock.monotonic() >= beat:
                    beat = self._clock.monotonic() + HEARTBEAT_SECONDS
                    yield None
                if ear.attached and not ear.rows:
                    await self._wait(ear.fresh, beat)

    # -- a stream -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _listening(self, ear: _Ear) -> Iterator[None]:
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
            self._detach(ear)
            if not self._open and self._reader is not None:
                self._reader.cancel()
                self._reader = None

    async def _next(self, ear: _Ear) -> tuple[list[EventRow], int]:
        """What a stream is to be told now, and up to where it has everything then."""
        rows = ear.take()
        if rows:
            return rows, rows[-1].sequence
        return ([], ear.sequence) if ear.attached else await self._catch_up(ear)

    async def _catch_up(self, ear: _Ear) -> tuple[list[EventRow], int]:
        """The next events of a stream that is behind the reader; none, and the stream is attached, if it is not."""
        nothing: tuple[list[EventRow], int] = ([], ear.sequence)
        try:
            if self._reader is None:
                await self._begin()
            if ear.sequence >= self._sequence:
                self._attach(ear)
                return nothing
            page = await self._log.page(ear.sequence, names=ear.names, account=ear.account)
        except Exception as error:  # noqa: BLE001 (a stream outlives any trouble of the store)
            await self._trouble(error)
            return nothing
        return page.rows, page.upto

    def _attach(self, ear: _Ear) -> None:
        ear.attached = True
        self._fresh.set()  # what has happened since the reader read last did not concern it until now
        for key in ear.keys:
            self._ears.setdefault(key, set()).add(ear)

    def _detach(self, ear: _Ear) -> None:
        ear.attached = False
        for key in ear.keys:
            ears = self._ears.get(key, set())
            ears.discard(ear)
            if not ears:
                self._ears.pop(key, None)

    # -- the reader ---------------------------------------------------------------------------------------------------

    async def _begin(self) -> None:
        last = await self._store.read(self._log.last)
        if self._reader is None and self._open:
            self._sequence = last
            self._reader = self._tasks.start(self._read(), "events for streams")

    async def _read(self) -> None:
        while True:
            self._fresh.clear()
            try:
                page = await self._log.page(self._sequence)
            except (Exception, asyncio.CancelledError) as error:
                if ends(error):
                    raise
                await self._trouble(error)
                continue
            for row in page.rows:
                self._hand_out(row)
            self._sequence = page.upto
            if not page.more:
                await self._wait(self._fresh, self._clock.monotonic() + HEARTBEAT_SECONDS)

    def _hand_out(self, row: EventRow) -> None:
        for key in _keys(row.name, row.account_uuid):
            for ear in list(self._ears.get(key, ())):
                if len(ear.rows) >= BUFFER:
                    self._detach(ear)  # it reads for itself once it has taken these
                elif row.sequence > ear.sequence:
                    ear.rows.append(row)
                ear.fresh.set()

    async def _wait(self, fresh: asyncio.Event, until: float) -> None:
        timer = self._clock.call_later(max(0.0, until - self._clock.monotonic()), fresh.set)
        try:
            await fresh.wait()
        finally:
            timer.cancel()

    async def _trouble(self, error: BaseException) -> None:
        _log.warning("event.not-read", what="streams", error=str(error))
        await self._clock.sleep(_AGAIN_SECONDS)


def _keys(name: str, account: str | None) -> list[_Key]:
    """Under which those are found whom an event concerns. An event of no account is for administrators only."""
    everybody: list[_Key] = [(None, None), (None, name)]
    return everybody if account is None else [*everybody, (account, None), (account, name)]
