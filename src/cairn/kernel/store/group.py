"""Group commit: waiting functions are run, committed together and answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from datetime import datetime, timedelta
from typing import Generic, Protocol, TypeVar, cast

from cairn.kernel.clock import Clock
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.store.driver import Connection, Driver, Trouble
from cairn.kernel.store.invalidation import Invalidation
from cairn.kernel.store.line import Line
from cairn.kernel.store.numbering import LateRow, Numbering
from cairn.kernel.store.remembered import Changes
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.seal import Seals
from cairn.kernel.store.statements import Statements
from cairn.kernel.store.trouble import explain, runs_again, translate
from cairn.kernel.store.tx import Tx

R = TypeVar("R")
_BATCH = 256
_BATCH_SECONDS = 0.05
#: after one has failed, so many functions get marks; no fewer than share a commit, so that those that are run again all do
_MARKED = _BATCH


class StoreMetrics(Protocol):
    """Is told how the store does. Called from the store's threads."""

    def committed(self, transactions: int, seconds: float) -> None:
        """One commit made that many transactions durable; `seconds` from the first one's begin."""

    def read(self, seconds: float) -> None:
        """One read took that long."""


class NoMetrics:
    """Ignores commits and reads: for tests and tools, which measure nothing."""

    def committed(self, transactions: int, seconds: float) -> None:
        """The commit is not counted."""

    def read(self, seconds: float) -> None:
        """The read is not counted."""


class WorkItem(Generic[R]):
    """One function on its way, and its result. It runs in its caller's context (job, actor), whatever the thread."""

    __slots__ = ("after", "context", "durable", "error", "function", "future", "late", "result")

    def __init__(self, function: Callable[[Tx], R], future: asyncio.Future[R] | None) -> None:
        self.function = function
        self.context = copy_context()
        self.future = future
        self.result: R | None = None
        self.error: BaseException | None = None
        self.after: list[Callable[[], object]] = []
        self.late: list[LateRow] = []  #: rows that are written right before the commit
        self.durable = False  #: its changes were committed

    @property
    def tells(self) -> bool:
        """Whether it has changed something that other nodes may remember."""
        return bool(self.late) and self.durable and any(row.record is Invalidation for row in self.late)

    def run(self, tx: Tx) -> None:
        """Call the function, and keep its result or its error."""
        self.result, self.error = None, None
        try:
            self.result = self.context.run(self.function, tx)
        except BaseException as error:  # noqa: BLE001 (it is raised where the result is awaited)
            self.error = error
        self.after, self.late = ([], []) if self.error else (tx.take_after_commit(), tx.take_late())

    def answer(self) -> None:
        """On the event loop: make the calls that waited for the commit, then wake whoever waits for the result."""
        loop = asyncio.get_running_loop()
        for call in self.after:
            try:
                call()
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 (one subscriber must not hurt another)
                loop.call_exception_handler({"message": "a call after a commit failed", "exception": error})
        if self.future is None or self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(_raisable(self.error))
        else:
            self.future.set_result(cast("R", self.result))


def _raisable(error: BaseException) -> BaseException:
    return RuntimeError("a transaction function raised StopIteration") if isinstance(error, StopIteration) else error


def _is_broken(error: BaseException | None) -> bool:
    """Whether the connection should not be used again."""
    return isinstance(error, CairnError) and error.code == "store.broken"


def _lost() -> CairnError:
    """The database gave up the whole transaction, and the function went on regardless."""
    return CairnError(
        "store.lost",
        "a transaction function went on after an error that ended its transaction. This is a bug in cairn.",
        kind=ErrorKind.INTERNAL,
    )


_TICK = timedelta(microseconds=1)


class TransactionRunner:
    """Runs functions on a connection, for writer, readers and the inline mode alike."""

    def __init__(
        self, driver: Driver, schema: Schema, clock: Clock, metrics: StoreMetrics, seals: Seals | None = None
    ) -> None:
        self.driver = driver
        self.schema = schema
        self.clock = clock
        self.metrics = metrics
        self.statements = Statements(driver.dialect, seals or Seals.ephemeral())
        self.numbering = Numbering(driver, self.statements)
        self.changes = Changes(one_writer=driver.one_writer)
        self._marks_left = 0  #: so many functions more get a mark of their own
        self._last: datetime | None = None  #: the newest `Tx.now` of a transaction that wrote

    def tx(self, connection: Connection, *, writable: bool) -> Tx:
        """A transaction to hand to one function. No two that write have the same `now`: it tells their order."""
        now = self.clock.now()
        if writable:
            if self._last is not None and now <= self._last:
                now = self._last + _TICK
            self._last = now
        return Tx(connection, self.driver, self.schema, self.statements, now, self.changes, writable=writable)

    def _run_until(self, connection: Connection, item: WorkItem[object], over: Callable[[], bool]) -> None:
        connection.stop_when(over)
        try:
            item.run(self.tx(connection, writable=False))
        finally:
            connection.stop_when(None)

    def read(self, line: Line, item: WorkItem[object], over: Callable[[], bool] | None = None) -> None:
        """Run a function on a snapshot. Whatever fails, the item has its result or an error afterwards.

        Args:
            over: as soon as it says so, the function is broken off (``store.stopped``).
        """
        if over is not None and over():
            item.error = explain(Trouble.STOPPED, "", None)
            return
        started = self.clock.monotonic()
        ran = False
        try:
            connection = line.connection()
            connection.begin()
            if over is None:
                item.run(self.tx(connection, writable=False))
            else:
                self._run_until(connection, item, over)
            ran = True
            connection.rollback()
            line.worked()
        except BaseException as error:  # noqa: BLE001 (the caller of the read gets it)
            line.drop(error)
            if not ran:  # else what it has read stands
                item.error = error
        if item.error is not None:
            item.error = translate(item.error, self.driver)
            if _is_broken(item.error):
                line.drop(item.error)
        self.metrics.read(self.clock.monotonic() - started)

    def write(
        self, line: Line, first: WorkItem[object], more: Callable[[], WorkItem[object] | None]
    ) -> list[WorkItem[object]]:
        """Run `first`, and as many as `more` gives, in one transaction, and commit. Returns all that were taken.

        Whatever fails, each of them has its result, durable, or an error afterwards.
        """
        items = [first]
        try:
            self._together(line, items, more)
            broken = next((item.error for item in items if _is_broken(item.error)), None)
            line.worked() if broken is None else line.drop(broken)
        except BaseException as error:  # noqa: BLE001 (everyone whose changes are not durable gets it)
            line.drop(error)
            self.changes.taken_back += 1
            for item in items:
                if item.error is not None:
                    item.error = translate(item.error, self.driver)
                elif not item.durable:
                    item.error, item.after = self._unsaid(error), []
        return items

    def _together(self, line: Line, items: list[WorkItem[object]], more: Callable[[], WorkItem[object] | None]) -> None:
        started = self.clock.monotonic()
        connection = line.connection()
        kept: list[WorkItem[object]] = []  # those whose changes are in the open transaction
        item: WorkItem[object] | None = items[0]
        while item is not None:
            self._add(connection, kept, item)
            enough = len(items) >= _BATCH or self.clock.monotonic() - started > _BATCH_SECONDS
            item = None if enough else more()
            if item is not None:
                items.append(item)
        self._commit(connection, kept)
        self.metrics.committed(len(kept), self.clock.monotonic() - started)

    def _unsaid(self, error: BaseException) -> BaseException:
        """The error for those whose work was lost with the connection, whatever was wrong with it."""
        translated = translate(error, self.driver)
        if isinstance(translated, CairnError) and translated.kind is not ErrorKind.INTERNAL:
            return translated
        unsaid = CairnError(
            "store.broken",
            f"the connection to the database failed ({error}). Nothing was changed; a new one is opened for what comes "
            "next, so try again. If it stays so, look at the database's disk.",
            kind=ErrorKind.UNAVAILABLE,
        )
        unsaid.__cause__ = error
        return unsaid

    def _add(self, connection: Connection, kept: list[WorkItem[object]], item: WorkItem[object]) -> None:
        """Run one more function, in the open transaction if there is one. `kept` has those whose changes are in it."""
        hopes = bool(kept) and self._marks_left == 0
        done = self._run(connection, item, marked=bool(kept) and not hopes)
        runs = 1
        while not done and not hopes and bool(kept) == connection.in_transaction and runs_again(item.error, runs):
            done = self._run(connection, item, marked=bool(kept))
            runs += 1
        if done:
            kept.append(item)
            self._marks_left -= self._marks_left > 0
        elif hopes:
            self._marks_left = _MARKED
            again = [*kept, item]
            kept.clear()
            for one in again:
                self._add(connection, kept, one)
        elif kept and not connection.in_transaction:
            self._run_again(connection, kept)
            kept.clear()

    def _run(self, connection: Connection, item: WorkItem[object], *, marked: bool) -> bool:
        """Run one function, and return whether its changes are in the open transaction.

        If it fails and was `marked`, the changes before it stay; else all are taken back.
        """
        try:
            if not marked:
                if not connection.in_transaction:
                    self.changes.begun += 1
                    connection.begin()
                item.run(self.tx(connection, writable=True))
                if item.error is not None:
                    connection.rollback()
            else:
                connection.savepoint()
                item.run(self.tx(connection, writable=True))
                if item.error is None:
                    connection.release()
                elif connection.in_transaction:
                    connection.rollback_to_savepoint()
        except Exception as error:  # noqa: BLE001 (the caller of this one function gets it)
            item.error, item.after = error, []
            connection.rollback()
        if item.error is None and not connection.in_transaction:
            item.error, item.after = _lost(), []
        if item.error is not None:
            self.changes.taken_back += 1
            item.error = translate(item.error, self.driver)
        return item.error is None

    def _run_again(self, connection: Connection, lost: list[WorkItem[object]]) -> None:
        """An error of another function ended the transaction that these were in: each gets one of its own."""
        for item in lost:
            if self._run(connection, item, marked=False):
                self._commit(connection, [item])

    def _finish(self, connection: Connection, items: list[WorkItem[object]]) -> bool:
        """Write what belongs at the end of the transaction. False: one could not, and each was run by itself instead."""
        late = [row for item in items for row in item.late]
        if not late:
            return True
        try:
            self.numbering.write(connection, late)
        except Exception:
            if len(items) == 1:
                raise
            self.changes.taken_back += 1
            connection.rollback()
            self._run_again(connection, items)
            return False
        return True

    def _commit(self, connection: Connection, items: list[WorkItem[object]]) -> None:
        if not connection.in_transaction:
            return
        try:
            if not self._finish(connection, items):
                return
            connection.commit()
            self.numbering.committed()
        except Exception as error:  # noqa: BLE001 (everyone in the commit gets it)
            self.changes.taken_back += 1
            for item in items:
                item.error, item.after = translate(error, self.driver), []
            connection.rollback()
            return
        for item in items:
            item.durable = True
