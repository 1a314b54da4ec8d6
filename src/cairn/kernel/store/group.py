"""Group commit: waiting functions are run, committed together and answered.

**Run again.** A database on a server gives up a transaction for another one's sake (a deadlock, a lock that is waited for too
long), and its connection may be lost. None of that is the functions' fault, so all that were in the transaction are run again,
here and nowhere else, after a pause that grows and is not the same for two that got into each other's way. When the connection
was lost in the commit itself, the next connection is asked first whether it was made (`Connection.committed`), so that nothing
is done twice. If the server stays away, everyone who waits is told so; those who come then are tried once, until it is back.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Sequence
from contextvars import copy_context
from copy import copy
from datetime import datetime, timedelta
from typing import Generic, Protocol, TypeVar, cast

from cairn.kernel.clock import Clock
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.store.driver import Connection, Driver, Mark, Trouble
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
#: how often work that was interrupted is tried in all, and the pauses: some 30 s together
_TRIES = 40
_FIRST_PAUSE_SECONDS = 0.01
_LONGEST_PAUSE_SECONDS = 1.0
#: and for how long, where each try takes its time
_PATIENCE_SECONDS = 60.0


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
    return isinstance(error, CairnError) and error.code in ("store.broken", "store.unreachable")


def _unknown(cause: BaseException) -> CairnError:
    """The connection was lost in the commit, and stayed so."""
    error = CairnError(
        "store.unknown-outcome",
        "the connection to the database was lost while a change was being committed, so nobody knows yet whether it was made. "
        "Look at what it should have changed before you try again.",
        kind=ErrorKind.UNAVAILABLE,
    )
    error.__cause__ = cause
    return error


class _Interrupted(Exception):
    """Through no fault of a function the transaction came to nothing, or nobody knows whether it was committed.

    Args:
        cause: what the database said.
        doubtful: the commit that got no answer.
        items: those who are in it.
    """

    def __init__(
        self, cause: BaseException, doubtful: Mark | None = None, items: Sequence[WorkItem[object]] = ()
    ) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.doubtful = doubtful
        self.items = items


#: waits so many seconds; True: there is to be no further try
Pause = Callable[[float], bool | None]


class _Tries:
    """The pauses between tries, each about twice as long as the one before."""

    def __init__(self, most: int, pause: Pause, monotonic: Callable[[], float]) -> None:
        self._left = most
        self._until = monotonic() + _PATIENCE_SECONDS
        self._seconds = _FIRST_PAUSE_SECONDS
        self._pause = pause
        self._monotonic = monotonic

    def another(self) -> bool:
        """Wait, and say whether there may be another try."""
        self._left -= 1
        if self._left <= 0 or self._monotonic() >= self._until:
            return False
        ended = self._pause(self._seconds * random.uniform(0.5, 1.5))  # noqa: S311 (no secret)
        self._seconds = min(2 * self._seconds, _LONGEST_PAUSE_SECONDS)
        return not ended


def _lost() -> CairnError:
    """The database gave up the whole transaction, and the function went on regardless."""
    return CairnError(
        "store.lost",
        "a transaction function went on after an error that ended its transaction. This is a bug in cairn.",
        kind=ErrorKind.INTERNAL,
    )


_TICK = timedelta(microseconds=1)


class Instants:
    """What `Tx.now` is in transactions that write: all writers of a store ask here, so that no two get the same."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last: datetime | None = None

    def next(self) -> datetime:
        """Now, or a moment behind the one that was given last."""
        with self._lock:
            now = self._clock.now()
            if self._last is not None and now <= self._last:
                now = self._last + _TICK
            self._last = now
        return now


class TransactionRunner:
    """Runs functions on a connection, for writer, readers and the inline mode alike. Each writer has one of its own."""

    def __init__(
        self,
        driver: Driver,
        schema: Schema,
        clock: Clock,
        metrics: StoreMetrics,
        seals: Seals | None = None,
        pause: Pause | None = None,
    ) -> None:
        """`pause`: between tries; None: one that ends at once, with all tries, when the store is being closed."""
        self.driver = driver
        self.schema = schema
        self.clock = clock
        self.metrics = metrics
        self.statements = Statements(driver.dialect, seals or Seals.ephemeral())
        self.numbering = Numbering(driver, self.statements)
        self.changes = Changes(one_writer=driver.one_writer)
        self.closing = threading.Event()  #: set: nothing that was interrupted is tried again
        self._pause: Pause = pause or self.closing.wait
        self._marks_left = 0  #: so many functions more get a mark of their own
        self.instants = Instants(clock)

    def another(self) -> TransactionRunner:
        """One for a further writer of the same store. What a writer knows of its own transactions is not shared."""
        made = copy(self)
        made.numbering = Numbering(self.driver, self.statements)
        made.changes = Changes(one_writer=self.driver.one_writer)
        return made

    def tx(self, connection: Connection, *, writable: bool) -> Tx:
        """A transaction to hand to one function. No two that write have the same `now`: a writer's tell their order."""
        now = self.instants.next() if writable else self.clock.now()
        return Tx(connection, self.driver, self.schema, self.statements, now, self.changes, writable=writable)

    def _run_until(
        self, connection: Connection, item: WorkItem[object], over: Callable[[], bool], seconds: float | None
    ) -> None:
        connection.stop_when(over, seconds)
        try:
            item.run(self.tx(connection, writable=False))
        finally:
            connection.stop_when(None)

    def read(
        self, line: Line, item: WorkItem[object], over: Callable[[], bool] | None = None, seconds: float | None = None
    ) -> None:
        """Run a function on a snapshot. Whatever fails, the item has its result or an error afterwards.

        Args:
            over: as soon as it says so, the function is broken off (``store.stopped``).
            seconds: how long that takes at the latest, where it is known.
        """
        started = self.clock.monotonic()
        tries = self._tries(line)
        while True:
            if over is not None and over():
                item.error = explain(Trouble.STOPPED, "", None)
                return
            if not self._read_once(line, item, over, seconds) or not tries.another():
                break
        self.metrics.read(self.clock.monotonic() - started)

    def look(self, line: Line, fn: Callable[[Tx], R]) -> R:
        """Run a function on a snapshot, in its caller's own thread and context, and return its result. Raises as `Store.read`."""
        started = self.clock.monotonic()
        try:
            connection = line.connection()
            connection.begin()
            try:
                result = fn(self.tx(connection, writable=False))
            finally:
                connection.rollback()
            self.metrics.read(self.clock.monotonic() - started)
            return result
        except CairnError as error:
            if _is_broken(error):
                line.drop(error)
            raise
        except Exception:  # noqa: BLE001 (what is wrong, with the line or with the function, is found out and told there)
            item: WorkItem[R] = WorkItem(fn, None)
        self.read(line, cast("WorkItem[object]", item))
        if item.error is not None:
            raise item.error
        return cast("R", item.result)

    def _read_once(
        self, line: Line, item: WorkItem[object], over: Callable[[], bool] | None, seconds: float | None
    ) -> bool:
        """Run the function; whether it was interrupted, and is to be run again."""
        ran = interrupted = False
        item.error = None
        try:
            connection = line.connection()
            connection.begin()
            if over is None:
                item.run(self.tx(connection, writable=False))
            else:
                self._run_until(connection, item, over, seconds)
            ran = connection.interrupted is None
            interrupted = not ran
            connection.rollback()
            line.worked() if ran else line.drop(connection.interrupted or _lost())
        except BaseException as error:  # noqa: BLE001 (the caller of the read gets it)
            line.drop(error)
            if not ran:  # else what it has read stands
                item.error = error
                interrupted = interrupted or self._is_away(error)
        if item.error is not None:
            item.error = translate(item.error, self.driver)
            if _is_broken(item.error):
                line.drop(item.error)
        return interrupted

    def _is_away(self, error: BaseException) -> bool:
        found = self.driver.trouble(error)
        return found is not None and found[0] is Trouble.UNREACHABLE

    def _tries(self, line: Line) -> _Tries:
        """As many as it takes a server to start again; one, if it has been away longer."""
        return _Tries(_TRIES if line.trouble is None else 1, self._pause, self.clock.monotonic)

    def write(
        self, line: Line, first: WorkItem[object], more: Callable[[], WorkItem[object] | None]
    ) -> list[WorkItem[object]]:
        """Run `first`, and as many as `more` gives, in one transaction, and commit. Returns all that were taken.

        Whatever fails, each of them has its result, durable, or an error afterwards.
        """
        items = [first]
        doubt: _Interrupted | None = None
        tries = self._tries(line)
        while True:
            try:
                if doubt is not None:
                    self._settle(line.connection(), doubt)
                    doubt = None
                self._together(line, items, more)
                broken = next((item.error for item in items if _is_broken(item.error)), None)
                line.worked() if broken is None else line.drop(broken)
                return items
            except BaseException as error:  # noqa: BLE001 (everyone whose changes are not durable gets it)
                self.changes.taken_back += 1
                doubt = self._doubt_of(error) or doubt
                cause = error.cause if isinstance(error, _Interrupted) else error
                if self._again(line, error, cause, tries):
                    continue
                self._give_up(items, cause, doubt)
                return items

    def _doubt_of(self, error: BaseException) -> _Interrupted | None:
        return error if isinstance(error, _Interrupted) and error.doubtful is not None else None

    def _again(self, line: Line, error: BaseException, cause: BaseException, tries: _Tries) -> bool:
        """After an error: drop the line if it is that, and wait until what was interrupted may be run again."""
        away = self._is_away(cause)
        if away or not isinstance(error, _Interrupted):
            line.drop(cause)
        return (away or isinstance(error, _Interrupted)) and tries.another()

    def _settle(self, connection: Connection, doubt: _Interrupted) -> None:
        """Find out whether a commit was made whose answer was lost."""
        assert doubt.doubtful is not None
        if connection.committed(doubt.doubtful):
            for item in doubt.items:
                item.durable = True

    def _give_up(self, items: list[WorkItem[object]], cause: BaseException, doubt: _Interrupted | None) -> None:
        in_doubt = () if doubt is None else doubt.items
        for item in items:
            if item in in_doubt:
                item.error, item.after = _unknown(cause), []
            elif item.error is not None:
                item.error = translate(item.error, self.driver)
            elif not item.durable:
                item.error, item.after = self._unsaid(cause), []

    def _together(self, line: Line, items: list[WorkItem[object]], more: Callable[[], WorkItem[object] | None]) -> None:
        """Run those of `items` that are not durable, and then what `more` gives, and commit."""
        started = self.clock.monotonic()
        connection = line.connection()
        kept: list[WorkItem[object]] = []  # those whose changes are in the open transaction
        for item in [one for one in items if not one.durable]:
            self._add(connection, kept, item)
        while len(items) < _BATCH and self.clock.monotonic() - started <= _BATCH_SECONDS:
            another = more()
            if another is None:
                break
            items.append(another)
            self._add(connection, kept, another)
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
        if connection.interrupted is not None:
            raise _Interrupted(connection.interrupted)
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
            if len(items) == 1 or connection.interrupted is not None:
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
        except Exception as error:
            if connection.interrupted is not None:
                raise _Interrupted(error, connection.doubtful, list(items)) from error
            self.changes.taken_back += 1
            for item in items:
                item.error, item.after = translate(error, self.driver), []
            connection.rollback()
            return
        for item in items:
            item.durable = True
