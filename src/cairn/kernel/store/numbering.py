"""Logs: tables whose rows are numbered in the order in which they were committed, whichever node wrote them.

A reader of a log goes on behind the highest number that it has seen. A number that the database hands out when a row is
inserted does not serve it: of two transactions on a database with many writers the one with the lower number may be
committed last, and whoever has seen the higher one by then never reads it. So the rows of a log (``Key(auto=True,
in_commit_order=True)``) are held back until the functions of a transaction have run. Then a row of `CommitSequence` is counted
up, which locks it until the commit: numbers are taken in the order of the commits, and a reader that sees one sees all before
it. It is the last lock that a transaction takes, so it adds no dead-lock; the wait for it is that for another's commit, once
for all functions that share one.

Where only one can write at a time (`Driver.one_writer`), the database's own numbers follow the commits, and it is left to
that: the rows of all functions that share a commit are then one statement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, cast

from msgspec import Struct
from sqlalchemy import bindparam, func, select, update

from cairn.kernel.store.record import Key, Record, SqlValue, TableMeta, info

if TYPE_CHECKING:  # the schema, which drivers know, has these records
    from cairn.kernel.store.driver import Connection, Driver
    from cairn.kernel.store.statements import Statements


class CommitSequence(Record, frozen=True, kw_only=True):
    """The number that was given last to a row of a log."""

    meta: ClassVar[TableMeta] = TableMeta(table="commit_sequence")

    name: Annotated[str, Key()]
    value: int


class LateRow(Struct, frozen=True):
    """A row of a log, encoded, all but its number."""

    record: type[Record]
    values: list[SqlValue]


_sequence = info(CommitSequence).table
_MINE = _sequence.c.name == bindparam("log")
_COUNT_UP = update(_sequence).where(_MINE).values(value=_sequence.c.value + bindparam("more"))
_VALUE = select(_sequence.c.value).where(_MINE)


class Numbering:
    """Writes the rows of logs at the end of a transaction. For the thread that writes."""

    def __init__(self, driver: Driver, statements: Statements) -> None:
        self._one_writer = driver.one_writer
        self._statements = statements
        self._inserts: dict[type[Record], tuple[str, int]] = {}
        self._checked: set[str] = set()  #: logs whose counter is known to be no lower than their rows
        self._checking: set[str] = set()  #: those of which that holds once the open transaction is committed

    def committed(self) -> None:
        """What `write` has written since is durable."""
        self._checked |= self._checking

    def write(self, connection: Connection, rows: list[LateRow]) -> None:
        """Insert `rows`, of one log or several. Nothing may be written behind them in the same transaction."""
        self._checking.clear()
        logs: dict[str, list[LateRow]] = {}
        for row in rows:
            logs.setdefault(row.record.meta.table, []).append(row)
        for table in sorted(logs):  # always in the same order, so that two transactions never wait for each other
            self._write(connection, table, logs[table])

    def _write(self, connection: Connection, table: str, rows: list[LateRow]) -> None:
        record = rows[0].record
        if self._one_writer:
            sql, values = self._statements.insert(record).sql, [row.values for row in rows]
        else:
            sql, at = self._inserts.get(record) or self._make_insert(record)
            first = self._take(connection, record, table, len(rows))
            values = [[*row.values[:at], number, *row.values[at:]] for number, row in enumerate(rows, start=first)]
        if len(values) == 1:
            connection.execute(sql, values[0])
        else:
            connection.execute_many(sql, values)

    def _make_insert(self, record: type[Record]) -> tuple[str, int]:
        made = self._inserts[record] = self._statements.numbered_insert(record)
        return made

    def _take(self, connection: Connection, record: type[Record], log: str, more: int) -> int:
        """Take so many numbers. Returns the first. No other transaction gets any until this one has ended."""
        counted = self._count_up(connection, log, more)
        value = self._number(connection, *self._statements.compiled(_VALUE).bind({"log": log})) if counted else 0
        if log in self._checked:
            return value - more + 1
        newest = self._newest(connection, record)
        if not counted:
            value = newest + more
            insert = self._statements.insert(CommitSequence)
            connection.execute(insert.sql, insert.values(CommitSequence(name=log, value=value)))
        elif value - more < newest:  # the rows came from elsewhere, as from a dump
            self._count_up(connection, log, newest + more - value)
            value = newest + more
        self._checking.add(log)
        return value - more + 1

    def _count_up(self, connection: Connection, log: str, more: int) -> bool:
        return connection.execute(*self._statements.compiled(_COUNT_UP).bind({"log": log, "more": more})) > 0

    def _newest(self, connection: Connection, record: type[Record]) -> int:
        key = info(record).table.c[info(record).key.name]
        return self._number(connection, *self._statements.compiled(select(func.max(key))).bind({}))

    def _number(self, connection: Connection, sql: str, values: list[SqlValue]) -> int:
        row = connection.fetch_one(sql, values)
        return cast("int", row[0] or 0) if row is not None else 0
