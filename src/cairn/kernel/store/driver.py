"""The interface of a database to the store. SQLite's is in `sqlite.py`; another database is another pair of these classes.

Both are used by one thread at a time. SQL texts have ``?`` where values go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Protocol

from sqlalchemy import Dialect

from cairn.kernel.store.record import SqlValue

Row = tuple[SqlValue, ...]


class Trouble(StrEnum):
    """The kind of an error that the database gave."""

    DUPLICATE = "duplicate"
    REFERENCE = "reference"
    NULL = "null"
    FULL = "full"
    READ_ONLY = "read-only"
    BUSY = "busy"
    BROKEN = "broken"  #: input or output error, damaged file
    STOPPED = "stopped"  #: the statement was broken off, as `Connection.stop_when` said
    OTHER = "other"


class Connection(Protocol):
    """One connection to the database."""

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open; some errors end it."""

    def begin(self) -> None:
        """Open a transaction; for a writer, take the right to write at once."""

    def commit(self) -> None:
        """Make the transaction durable."""

    def rollback(self) -> None:
        """Give up the transaction, if one is open."""

    def savepoint(self) -> None:
        """Mark this place in the transaction."""

    def release(self) -> None:
        """Forget the mark, keep what was done."""

    def rollback_to_savepoint(self) -> None:
        """Undo what was done since the mark, and forget it."""

    def execute(self, sql: str, values: Sequence[SqlValue]) -> int:
        """Run a statement and return how many rows it changed."""

    def execute_many(self, sql: str, values: Iterable[Sequence[SqlValue]]) -> int:
        """Run a statement once per set of values and return how many rows it changed in all."""

    def fetch(self, sql: str, values: Sequence[SqlValue]) -> list[Row]:
        """Run a query and return all its rows."""

    def fetch_one(self, sql: str, values: Sequence[SqlValue]) -> Row | None:
        """Run a query and return its first row; None if there is none."""

    def fetch_within(self, sql: str, values: Sequence[SqlValue], steps: int) -> list[Row] | None:
        """As `fetch`; None if it takes more than about that many steps of the database's machine."""

    def stop_when(self, due: Callable[[], bool] | None) -> None:
        """Break off statements as soon as `due`, asked every few milliseconds while one runs, says so; None: never."""

    def optimize(self) -> None:
        """Bring the statistics that plans depend on up to date. Cheap when nothing changed."""

    def columns(self) -> dict[str, set[str]]:
        """The names of all tables that there are, each with those of its columns."""

    def damage(self) -> list[str]:
        """What is wrong with the database itself, a sentence each, not with what stands in it. It reads everything."""

    def last_numbers(self) -> dict[str, int]:
        """By table: the last number that the database counted up to, where it counts."""

    def content(self) -> bytes:
        """The whole database, where it is a private one in memory."""

    def close(self) -> None:
        """End the connection; a transaction that is open is given up."""


class Driver(Protocol):
    """One kind of database: how to connect to it and what its errors mean."""

    dialect: Dialect
    private: bool  #: one connection has it all, and it is gone with that: a database in memory
    one_writer: bool  #: only one can write at a time, and no other process does: its own numbers follow the commits
    row_order: str | None  #: a column of every table that follows the order of insertion; None: there is none

    def connect(self, *, read_only: bool) -> Connection:
        """Open a connection; a reader gets one that refuses to write. Only the first may make a database that is not there."""

    def trouble(self, error: BaseException) -> tuple[Trouble, str] | None:
        """The kind of this error, and for duplicates and nulls the columns that the database says it is about
        (``table.column``, comma separated); None if it is not the database's."""

    def close(self) -> None:
        """Remove files that the database needs only while it is open. All connections are closed before."""
