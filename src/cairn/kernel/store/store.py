"""The store: transactions as plain functions, run off the event loop, many in one commit.

**Writing.** A thread owns a connection that writes; SQLite has one of them, a server some (`writer.py`). It takes a waiting
function, opens a transaction and runs it; as long as more are waiting it runs them in the same transaction. Then it commits
once, and only then are all of them answered. So a flush to the disk is shared by all who wait, a success that is told is
durable, and one that fails disturbs no other: since few fail, they run without savepoints at first; when one does, all are
rolled back and run again, each in a savepoint now, and so are some that come after. If the commit itself fails, all of its
functions fail.

**Reading.** Readers have threads and connections of their own. A read opens its snapshot after it was asked for, so it
sees every write that was acknowledged before, and in SQLite's write-ahead log it neither waits for the writer nor
holds it up. Look-ups by key (`look`) need no thread. Queries from outside (`query`) have readers of their own
(`cairn.kernel.store.lane`), so that the node's own reads never wait for them.

**Trouble.** A connection that fails is thrown away and opened anew (`line.py`); whoever waited is answered. So one failure of
the disk ends no thread and loses no caller. `trouble` says what is wrong as long as it lasts.

**Inline** (simulation, tests): everything runs on the event loop at once, in the order of the calls.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

from cairn.kernel.clock import Clock
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.store.address import database_at
from cairn.kernel.store.driver import Driver
from cairn.kernel.store.group import NoMetrics, StoreMetrics, TransactionRunner, WorkItem
from cairn.kernel.store.lane import QueryLane
from cairn.kernel.store.line import Line
from cairn.kernel.store.opening import driver_at
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.seal import Seals
from cairn.kernel.store.sqlite import SqliteDriver
from cairn.kernel.store.trouble import translate
from cairn.kernel.store.tx import Tx
from cairn.kernel.store.writer import Writers

__all__ = ["Store", "StoreMetrics", "Tx"]

R = TypeVar("R")
_Calls = queue.SimpleQueue["WorkItem[object] | None"]


class Store:
    """The node's database. Made by `open` or `memory`."""

    def __init__(self, runner: TransactionRunner, *, inline: bool) -> None:
        self._runner = runner
        self._inline = inline
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._writers = Writers(runner, self._answer, several=not inline)
        self._reads: _Calls = queue.SimpleQueue()
        self._looks: _Calls = queue.SimpleQueue()
        self._readers: list[Line] = []
        self._threads: list[threading.Thread] = []
        self._looker: Line | None = None
        self._lane: QueryLane | None = None
        self._told: Callable[[], None] = _nobody
        if not inline:
            self._start_threads()

    @classmethod
    async def open(
        cls,
        url_or_path: str | Path,
        schema: Schema,
        clock: Clock,
        metrics: StoreMetrics | None = None,
        *,
        inline: bool = False,
        create_tables: bool = False,
        seals: Seals | None = None,
    ) -> Store:
        """Open the database.

        Args:
            url_or_path: a file, whose folder must exist, or a server; see `cairn.kernel.store.address`.
            schema: all records.
            clock: for `Tx.now`.
            metrics: is told of commits and reads.
            inline: run everything on the event loop.
            create_tables: make tables that are missing; for tests. A node runs `migrations.upgrade` before it opens.
            seals: for secrets; None: a key that is gone with this object, and then nobody can read them any more.

        Raises:
            CairnError: ``store.broken`` if the file cannot be opened, ``store.bad-url``; of a server ``store.unreachable``,
                ``store.no-access``, ``store.no-client``.
        """
        driver = driver_at(database_at(url_or_path))
        return await cls.over(driver, schema, clock, metrics, inline=inline, create_tables=create_tables, seals=seals)

    @classmethod
    async def over(
        cls,
        driver: Driver,
        schema: Schema,
        clock: Clock,
        metrics: StoreMetrics | None = None,
        *,
        inline: bool = False,
        create_tables: bool = False,
        seals: Seals | None = None,
    ) -> Store:
        """As `open`, over any kind of database; for tests."""
        return cls._made(driver, schema, clock, metrics, inline=inline, create_tables=create_tables, seals=seals)

    @classmethod
    async def memory(
        cls,
        schema: Schema,
        clock: Clock,
        metrics: StoreMetrics | None = None,
        *,
        inline: bool = False,
        content: bytes | None = None,
        seals: Seals | None = None,
    ) -> Store:
        """A private database with all tables, gone when closed.

        Args:
            schema: all records.
            clock: for `Tx.now`.
            metrics: is told of commits and reads.
            inline: everything runs on the event loop.
            content: what is in it at first, from the `content` of another inline store; None: nothing.
            seals: those of that other store; None: a key of its own.
        """
        driver = SqliteDriver(None, shared=not inline, content=content)
        return cls._made(driver, schema, clock, metrics, inline=inline, create_tables=content is None, seals=seals)

    @classmethod
    def _made(
        cls,
        driver: Driver,
        schema: Schema,
        clock: Clock,
        metrics: StoreMetrics | None,
        *,
        inline: bool,
        create_tables: bool,
        seals: Seals | None,
    ) -> Store:
        runner = TransactionRunner(driver, schema, clock, metrics or NoMetrics(), seals)
        try:
            store = cls(runner, inline=inline)
            if create_tables:
                store._create_tables()
            store._writer.connection().optimize()
        except Exception as error:
            translated = translate(error, driver)
            if translated is error:
                raise
            raise translated from error
        return store

    @property
    def schema(self) -> Schema:
        """The records that this store has tables for."""
        return self._runner.schema

    @property
    def seals(self) -> Seals:
        """What opens its secrets. For the query engine."""
        return self._runner.statements.seals

    @property
    def driver(self) -> Driver:
        """The kind of database that this is. For the query engine."""
        return self._runner.driver

    @property
    def _writer(self) -> Line:
        return self._writers.first.line

    async def write(self, fn: Callable[[Tx], R], *, own: str | None = None) -> R:
        """Run `fn` in a transaction, and return its result once the commit is durable.

        Functions run in the order of the calls, and so do those of the same `own`; with different ones they may run at the same
        time, where the database takes several writers.

        An exception of `fn` undoes what it did (and nothing else) and is raised here. `fn` may be run more than once
        (see `Tx`). If the caller is cancelled while it waits, the transaction may or may not be done.

        Args:
            own: a uuid: `fn` writes and locks nothing but rows that belong to this one thing (its journal, its own row), makes
                new rows that belong to it, and emits events; and what it does `after_commit` may come before or after what
                functions of other things do. None: it may do anything.

        Raises:
            CairnError: what `fn` raises; ``store.full``, ``store.busy``, ``store.broken`` from the commit;
                ``store.closed``.
        """
        self._check_open()
        if self._inline:
            return self._run_inline(fn, writing=True)
        item: WorkItem[R] = WorkItem(fn, self._loop.create_future())
        self._writers.of(own).put(cast("WorkItem[object]", item))
        return await cast("asyncio.Future[R]", item.future)

    async def read(self, fn: Callable[[Tx], R]) -> R:
        """Run `fn` on a snapshot of everything acknowledged before, and return its result. `fn` cannot change anything.

        Raises:
            CairnError: what `fn` raises; ``store.broken``, ``store.closed``.
        """
        self._check_open()
        if self._inline:
            return self._run_inline(fn, writing=False)
        return await self._put(self._reads, fn)

    async def _put(self, calls: _Calls, fn: Callable[[Tx], R]) -> R:
        item: WorkItem[R] = WorkItem(fn, self._loop.create_future())
        calls.put(cast("WorkItem[object]", item))
        return await cast("asyncio.Future[R]", item.future)

    async def query(self, fn: Callable[[Tx], R], *, asker: str | None, seconds: float) -> R:
        """As `read`, for somebody outside: in the askers' turns, and broken off when the time is over.

        Args:
            asker: the account that asks, for fair turns; None: an administrator.
            seconds: how long it may take, waiting included.

        Raises:
            CairnError: as `read`; ``store.stopped`` when the time is over; ``query.too-many`` when too many of the asker's
                wait already.
        """
        self._check_open()
        until = self._runner.clock.monotonic() + seconds
        if self._inline:
            clock = self._runner.clock
            return self._run_inline(fn, writing=False, over=lambda: clock.monotonic() >= until)
        if self._lane is None:
            self._lane = QueryLane(self._runner, self._answer)
        item: WorkItem[R] = WorkItem(fn, self._loop.create_future())
        self._lane.put(asker, cast("WorkItem[object]", item), until)
        return await cast("asyncio.Future[R]", item.future)

    async def look(self, fn: Callable[[Tx], R]) -> R:
        """As `read`, for a few look-ups by key: where the database is a file, it is run at once, on the event loop. A server may
        be slow to answer: there a thread does them, one after the other, so that they are answered in the order of the calls.

        Handing work to a thread and back costs more than such a look-up, even more while other threads compute. Never
        use it for work that may take longer than some 100 us: everything else waits meanwhile.
        """
        self._check_open()
        if self._inline:
            return self._run_inline(fn, writing=False)
        if not self._runner.driver.near:
            return await self._put(self._looks, fn)
        return self._runner.look(self._line_of_looks(), fn)

    def _line_of_looks(self) -> Line:
        if self._looker is None:
            self._looker = Line(self._runner.driver, read_only=True)
        return self._looker

    def on_told(self, call: Callable[[], None]) -> None:
        """Call `call` on the event loop after each commit in which something was changed that nodes remember."""
        self._told = call

    def trouble(self) -> str | None:
        """What keeps the store from writing now, in a sentence; None: nothing. Nothing is asked of the database for it."""
        return None if self._closed else self._writers.trouble()

    def content(self) -> bytes:
        """Everything in a private inline store, for another one to begin with."""
        assert self._inline, "only a store without threads can be copied at once"
        return self._writer.connection().content()

    async def optimize(self) -> None:
        """Refresh the statistics that query plans depend on. Call it once an hour; it is cheap when little changed."""
        self._check_open()
        if self._inline:
            self._writer.connection().optimize()
            return
        item: WorkItem[object] = WorkItem(lambda _: self._writer.connection().optimize(), self._loop.create_future())
        self._writers.first.put(item)
        await cast("asyncio.Future[object]", item.future)

    async def close(self) -> None:
        """Finish the work that was asked for, then close. Safe to repeat."""
        if self._closed:
            return
        self._closed = True
        self._runner.closing.set()
        self._writers.finish()
        self._looks.put(None)
        for _ in self._readers:
            self._reads.put(None)
        for thread in self._threads:
            await self._loop.run_in_executor(None, thread.join)
        if self._inline:
            self._writers.close()
        else:
            await self._loop.run_in_executor(None, self._writers.close)
        if self._lane is not None:
            await self._loop.run_in_executor(None, self._lane.close)
        for line in [*self._readers, *([self._looker] if self._looker else [])]:
            line.close()
        self._runner.driver.close()

    def _check_open(self) -> None:
        if self._closed:
            raise CairnError("store.closed", "the store is closed: the node is going down.", kind=ErrorKind.UNAVAILABLE)

    def _create_tables(self) -> None:
        connection = self._writer.connection()
        for ddl in self.driver.tables(self.schema):
            connection.execute(ddl, ())

    def _start_threads(self) -> None:
        self._readers = [Line(self._runner.driver, read_only=True) for _ in range(self._runner.driver.readers)]
        targets = [partial(self._read_loop, self._reads, line) for line in self._readers]
        if not self._runner.driver.near:
            targets.append(partial(self._read_loop, self._looks, self._line_of_looks()))
        for number, target in enumerate(targets):
            thread = threading.Thread(target=target, name=f"store-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._writers.start()

    def _read_loop(self, calls: _Calls, line: Line) -> None:
        while (item := calls.get()) is not None:
            self._runner.read(line, item)
            self._answer([item])

    def _answer(self, items: list[WorkItem[object]]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._answer_all, items)

    def _run_inline(self, fn: Callable[[Tx], R], *, writing: bool, over: Callable[[], bool] | None = None) -> R:
        item: WorkItem[R] = WorkItem(fn, None)
        if writing:
            self._runner.write(self._writer, cast("WorkItem[object]", item), lambda: None)
        elif over is not None:
            self._runner.read(self._writer, cast("WorkItem[object]", item), over)
        else:
            self._runner.read(self._writer, cast("WorkItem[object]", item))
        self._answer_all([cast("WorkItem[object]", item)])
        if item.error is not None:
            raise item.error
        return cast("R", item.result)

    def _answer_all(self, items: list[WorkItem[object]]) -> None:
        for item in items:
            item.answer()
        if any(item.tells for item in items):
            self._told()


def _nobody() -> None:
    """Nobody wants to be told."""
