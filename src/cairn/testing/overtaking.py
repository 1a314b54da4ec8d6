"""Two transaction functions in each other's way: what comes out when one runs in the middle of the other.

Where several writers share a database, another transaction may commit between what a function reads and what it writes
(docs/concurrency.md). Here each such place is tried: it runs `first` up to its k-th statement, then all of `second`, then
the rest of `first`, which goes on with what it has read. Every outcome must be that of one after the other, in either order; if
not, a guard is missing::

    def functions():  # made anew for each try, so that both begin with the same ids
        space = DiskSpace(...)
        return lambda tx: space.measured(tx, host, found), lambda tx: space.claim(tx, storage, host, 10)

    assert anomalies(store, functions) == []
    assert anomalies(store, functions, locking=False)  # the guard is a lock, and it is needed

It needs no second database: `first` is run on a copy, what it reads is kept, and it is run again where `second` has been, with
what it had read until then. The rules are those of the weakest isolation that cairn runs on (READ COMMITTED): a statement sees
what is committed when it begins; rows that were written, or read with ``lock=True``, are the transaction's own until its end; a
row that refers to another keeps that one from being written, and so does reading it ``FOR SHARE``. A place where `second` would
have had to wait for such a row is no place between: `second` comes after `first` there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache
from itertools import count
from typing import Any

from msgspec import Struct
from sqlalchemy import Dialect, Select
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from cairn.kernel.clock import Clock
from cairn.kernel.error import CairnError
from cairn.kernel.store.driver import Connection, Row
from cairn.kernel.store.dump import pages
from cairn.kernel.store.group import NoMetrics, TransactionRunner, WorkItem
from cairn.kernel.store.line import Line
from cairn.kernel.store.record import Kind, SqlValue
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.seal import Seals
from cairn.kernel.store.sqlite import SqliteConnection, SqliteDriver
from cairn.kernel.store.statements import Statements
from cairn.kernel.store.store import Store, Tx
from cairn.testing.clock import VirtualClock

Function = Callable[[Tx], object]
_Held = tuple[str, object]  #: table and row
_LOCK = " /* for update */"
_SHARE = " /* for share */"
_FROM = re.compile(r'\bFROM\s+"?(\w+)"?', re.IGNORECASE)
_WRITES = re.compile(r'^\s*(INSERT(?: OR \w+)? INTO|UPDATE|DELETE FROM)\s+"?(\w+)"?', re.IGNORECASE)
_UUID = re.compile(r"\b[0-9a-f]{32}\b")
_SHOWN = 120
_COPIES = count(1)


def anomalies(
    store: Store,
    functions: Callable[[], tuple[Function, Function]],
    *,
    ignoring: Collection[str] = (),
    locking: bool = True,
) -> list[str]:
    """The places of `first` where `second` leads to what neither order of the two would; empty: there is none.

    Args:
        store: an inline store in memory; it is left as it is.
        functions: makes `first` and `second`.
        ignoring: tables, and columns (``table.column``, or a name for all tables), that need not be equal. Times, sealed values,
            uuids that were not there before, and numbers that the database counts up never need to be.
        locking: whether ``lock=True`` locks; if not, a guard that is a lock is missed.
    """
    stage = _Stage(store, frozenset(ignoring), locking=locking)
    first, second = functions()
    statements = stage.statements_of(first)
    in_order = [stage.one_after_the_other(*functions()), stage.one_after_the_other(*functions(), turned=True)]
    found: list[str] = []
    for at in range(1, len(statements) + 1):
        first, second = functions()
        end = stage.between(first, second, statements[:at])
        if end is not None and end not in in_order:
            place = f"after statement {at} of {len(statements)} ({' '.join(statements[at - 1].sql.split())[:_SHOWN]})"
            found.append(f"{place}: {_difference(end, in_order)}")
    return found


class _Statement(Struct, kw_only=True):
    """A statement that was run, with what came of it."""

    sql: str
    result: object = None
    error: str | None = None
    made: list[SqlValue] = []  #: rows that it inserted
    changed: list[SqlValue] = []  #: rows that it updated or deleted
    holds: frozenset[_Held] = frozenset()  #: rows that nobody else may write
    leans: frozenset[_Held] = frozenset()  #: rows that nobody else may hold

    def ended(self) -> tuple[object, str | None]:
        """What whoever ran it has seen."""
        return self.result, self.error


class _End(Struct, frozen=True, kw_only=True):
    """How both functions ended, and what the database has then."""

    first: str | None  #: the code of the error; None: it succeeded
    second: str | None
    rows: frozenset[tuple[str, int]]


class _WaitsError(Exception):
    """The other function would have waited for a row of this one."""


class _Stage:
    """Runs functions on copies of a store."""

    def __init__(self, store: Store, ignoring: frozenset[str], *, locking: bool) -> None:
        self._content = _content_of(store)
        self._schema = store.schema
        self._seals = store.seals
        self._ignoring = ignoring
        self._locking = locking
        self._known = frozenset[str]()
        self._known = frozenset(_UUID.findall(" ".join(self._rows(self._copy().connection.inner))))

    def statements_of(self, function: Function) -> list[_Statement]:
        """The statements of a function that runs alone."""
        copy = self._copy()
        copy.run(function)
        return copy.connection.heard_first()

    def one_after_the_other(self, first: Function, second: Function, *, turned: bool = False) -> _End:
        """Run both, `second` behind `first`, or `turned`."""
        copy = self._copy()
        if turned:
            late, early = copy.run(second), copy.run(first)
        else:
            early, late = copy.run(first), copy.run(second)
        return self._end(copy, early, late)

    def between(self, first: Function, second: Function, before: Sequence[_Statement]) -> _End | None:
        """Run `second`, then `first` as if these statements had been `before`; None: `second` would have waited."""
        copy = self._copy()
        late = copy.run(second)
        if _meet(before, copy.connection.take_heard()):
            return None
        copy.connection.repeat(before)
        early = copy.run(first)
        return None if copy.connection.waits else self._end(copy, early, late)

    def _copy(self) -> _Copy:
        return _Copy(self._content, self._schema, self._locking, self._seals)

    def _end(self, copy: _Copy, first: str | None, second: str | None) -> _End:
        return _End(first=first, second=second, rows=_counted(self._rows(copy.connection.inner)))

    def _rows(self, connection: Connection) -> Iterable[str]:
        for table, record in self._schema.by_table.items():
            if table in self._ignoring:
                continue
            names = [
                field.name
                for field in record.fields
                if not (field.kind is Kind.TIME or field.sealed or (field.key is not None and field.key.auto))
                and not self._ignoring & {field.name, f"{table}.{field.name}"}
            ]
            columns = ", ".join(f'"{name}"' for name in names)
            for row in connection.fetch(f'SELECT {columns} FROM "{table}"', ()) if names else ():  # noqa: S608 (declared names)
                told = f"{table}: {', '.join(f'{name}={value!r}' for name, value in zip(names, row, strict=True))}"
                yield _UUID.sub(lambda found: found[0] if not self._known or found[0] in self._known else "(new)", told)


def _content_of(store: Store) -> bytes:
    """What is in a store, as SQLite has it, whatever kind of database that is."""
    if store.driver.dialect.name == "sqlite":
        return store.content()
    driver, source = SqliteDriver(None), store.driver.connect(read_only=True)
    copy = driver.connect(read_only=False)
    for table in store.schema.metadata.sorted_tables:
        copy.execute(str(CreateTable(table).compile(dialect=driver.dialect)), ())
        for index in table.indexes:
            copy.execute(str(CreateIndex(index).compile(dialect=driver.dialect)), ())
        record = store.schema.by_table[table.name]
        names = [field.name for field in record.fields]
        marks = ", ".join("?" * len(names))
        columns = ", ".join(f'"{name}"' for name in names)
        for page in pages(source, store.driver, record, names):
            copy.execute_many(f'INSERT INTO "{table.name}" ({columns}) VALUES ({marks})', page)  # noqa: S608 (declared names)
    source.close()
    content = copy.content()
    copy.close()
    return content


class _Copy:
    """A database of its own, and what runs functions on it."""

    def __init__(self, content: bytes, schema: Schema, locking: bool, seals: Seals) -> None:
        inner = SqliteDriver(None, content=content).connect(read_only=False)
        assert isinstance(inner, SqliteConnection)
        self.connection = _Connection(inner, schema)
        driver = _Driver(self.connection, locking=locking)
        clock: Clock = VirtualClock()
        self._runner = TransactionRunner(driver, schema, clock, NoMetrics(), seals)
        self._runner.statements = _statements(seals, locking)
        number = next(_COPIES)  # nothing that is remembered of another copy is true of this one
        self._runner.changes.begun = self._runner.changes.taken_back = number << 20
        self._line = Line(driver, read_only=False)

    def run(self, function: Function) -> str | None:
        """Run a function in a transaction. Returns the code of its error; None: it succeeded."""
        item: WorkItem[object] = WorkItem(function, None)
        self._runner.write(self._line, item, lambda: None)
        if item.error is None or self.connection.waits:
            return None
        if not isinstance(item.error, CairnError):
            raise item.error
        return item.error.code


class _Compiler(SQLiteCompiler):
    """Marks what would lock rows."""

    def for_update_clause(self, select: Select[Any], **kw: Any) -> str:
        asked = select._for_update_arg
        return _SHARE if asked is not None and asked.read else _LOCK


@lru_cache(maxsize=8)
def _statements(seals: Seals, locking: bool) -> Statements:
    """Compiled once for all copies."""
    return Statements(_dialect(locking), seals)


def _dialect(locking: bool) -> Dialect:
    made = SQLiteDialect_pysqlite(paramstyle="qmark")
    if locking:
        made.statement_compiler = _Compiler
    return made


class _Driver(SqliteDriver):
    """SQLite, with one connection, and marks where rows would be locked."""

    def __init__(self, connection: _Connection, *, locking: bool) -> None:
        super().__init__(None)
        self._made = connection
        self.dialect = _dialect(locking)

    def connect(self, *, read_only: bool) -> Connection:
        return self._made


class _Connection(SqliteConnection):
    """Notes each statement, or says again what was heard before."""

    def __init__(self, inner: SqliteConnection, schema: Schema) -> None:
        super().__init__(inner._connection, read_only=False)
        self.inner = inner
        self.waits = False  #: the other function would have waited
        self._schema = schema
        self._heard: list[_Statement] = []
        self._first: list[_Statement] | None = None
        self._repeated: list[_Statement] = []
        self._now: dict[_Held, object] = {}  #: rows that were inserted in the first run, and what they are now

    def heard_first(self) -> list[_Statement]:
        """The statements of the first run."""
        return self._heard if self._first is None else self._first

    def take_heard(self) -> list[_Statement]:
        """All statements until now."""
        heard, self._heard, self._first = self._heard, [], None
        return heard

    def repeat(self, statements: Sequence[_Statement]) -> None:
        """Say again what came of these, when they are run now."""
        self._repeated = list(statements)

    # -- statements -----------------------------------------------------------------------------------------------------

    def execute(self, sql: str, values: Sequence[SqlValue]) -> int:
        """Run a statement that writes."""
        return int(str(self._note(sql, values)))

    def execute_many(self, sql: str, values: Iterable[Sequence[SqlValue]]) -> int:
        """Run a statement that writes, once for each."""
        return sum(self.execute(sql, one) for one in values)

    def fetch(self, sql: str, values: Sequence[SqlValue]) -> list[Row]:
        """Run a query."""
        rows: Any = self._note(sql, values)
        return list(rows)

    def fetch_one(self, sql: str, values: Sequence[SqlValue]) -> Row | None:
        """Run a query for one row."""
        rows = self.fetch(sql, values)
        return rows[0] if rows else None

    def fetch_within(self, sql: str, values: Sequence[SqlValue], steps: int) -> list[Row] | None:
        """Run a query, however long it takes."""
        return self.fetch(sql, values)

    def _note(self, sql: str, values: Sequence[SqlValue]) -> object:
        known = self._repeated.pop(0) if self._repeated else None
        assert known is None or known.sql == sql, f"it does not repeat itself: {known.sql!r} first, then {sql!r}"
        writes = _WRITES.match(sql)
        if known is not None and writes is None:
            return known.result
        statement, raised = _Statement(sql=sql), None
        try:
            if writes is None:
                statement.result = self._read(statement, values)
            elif writes[1].upper().startswith("INSERT"):
                statement.result = self._insert(statement, writes[2], values)
            else:
                statement.result = self._change(statement, writes[2], values, known)
        except Exception as error:  # noqa: BLE001 (raised again)
            statement.error, raised = f"{type(error).__name__}: {error}", error
        if known is not None and statement.ended() != known.ended():
            self.waits = True
            raise _WaitsError
        if known is not None and writes is not None:
            self._now.update(((writes[2], was), now) for was, now in zip(known.made, statement.made, strict=True))
        self._heard.append(statement)
        if raised is not None:
            raise raised
        return statement.result

    def _read(self, statement: _Statement, values: Sequence[SqlValue]) -> list[Row]:
        sql = statement.sql
        for mark in (_LOCK, _SHARE):
            if mark not in sql:
                continue
            plain = sql.replace(mark, "")
            begins = _FROM.search(plain)
            assert begins is not None
            rowids = self.inner.fetch(f"SELECT {begins[1]}.rowid {plain[begins.start() :]}", values)
            rows = frozenset((begins[1], row[0]) for row in rowids)
            if mark == _LOCK:
                statement.holds = rows
            else:  # others may read it so, too
                statement.leans = rows
        return self.inner.fetch(sql, values)

    def _insert(self, statement: _Statement, table: str, values: Sequence[SqlValue]) -> int:
        statement.made = [row[0] for row in self.inner.fetch(f"{statement.sql} RETURNING rowid", values)]
        statement.leans = frozenset(self._referred(table, statement.made, statement.sql))
        return len(statement.made)

    def _change(self, statement: _Statement, table: str, values: Sequence[SqlValue], known: _Statement | None) -> int:
        """Update or delete rows; if it was done before, those that it met then."""
        sql = statement.sql
        if known is not None:
            if not known.changed:
                return 0
            begin, _, condition = sql.partition("WHERE")
            these = [self._now.get((table, row), row) for row in known.changed]
            sql = f"{begin}WHERE ({condition or '1'}) AND rowid IN ({', '.join(str(one) for one in these)})"
        statement.changed = [row[0] for row in self.inner.fetch(f"{sql} RETURNING rowid", values)]
        statement.holds = frozenset((table, row) for row in statement.changed)
        if not sql.lstrip().upper().startswith("DELETE"):
            statement.leans = frozenset(self._referred(table, statement.changed, sql))
        return len(statement.changed)

    def _referred(self, table: str, rows: Sequence[SqlValue], sql: str) -> Iterable[_Held]:
        """The rows that rows refer to by a field that was written."""
        record = self._schema.by_table.get(table)
        for field in record.fields if record is not None else ():
            if (
                record is None
                or field.reference is None
                or not re.search(rf"\b{field.name}\b", sql.partition("WHERE")[0])
            ):
                continue
            target = self._schema.target(record.record, field.reference)
            there, key = target.meta.table, target.key.name
            for row in rows:
                query = f'SELECT t.rowid FROM "{there}" t JOIN "{table}" c ON t."{key}" = c."{field.name}" WHERE c.rowid = ?'  # noqa: S608 (declared names)
                yield from ((there, found[0]) for found in self.inner.fetch(query, (row,)))

    def rollback(self) -> None:
        """Give up the transaction. If the function is run again, it sees what is there now."""
        if self._first is None:
            self._first, self._heard = self._heard, []
        self._repeated, self._now = [], {}
        super().rollback()


def _meet(before: Sequence[_Statement], others: Sequence[_Statement]) -> bool:
    """Whether others need a row that is held. (A row that they made has a number of its own by accident only.)"""
    held = frozenset().union(*(one.holds for one in before))
    leaned = frozenset().union(*(one.leans for one in before))
    theirs = frozenset().union(*(one.holds for one in others))
    needed = theirs.union(*(one.leans for one in others))
    return bool(held & needed or leaned & theirs)


def _counted(rows: Iterable[str]) -> frozenset[tuple[str, int]]:
    counts: dict[str, int] = {}
    for row in rows:
        counts[row] = counts.get(row, 0) + 1
    return frozenset(counts.items())


def _difference(end: _End, in_order: Sequence[_End]) -> str:
    nearest = min(in_order, key=lambda one: len(one.rows ^ end.rows))
    told = [f"the first {end.first or 'succeeded'}, the second {end.second or 'succeeded'}"]
    told += [f"+ {row}" for row, _ in sorted(end.rows - nearest.rows)]
    told += [f"- {row}" for row, _ in sorted(nearest.rows - end.rows)]
    return "\n  ".join(told)
