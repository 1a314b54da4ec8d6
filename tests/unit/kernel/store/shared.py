"""A database that several stores write to, as several nodes do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from cairn.kernel.clock import Clock
from cairn.kernel.store.driver import Row
from cairn.kernel.store.group import NoMetrics, TransactionRunner
from cairn.kernel.store.record import SqlValue
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.sqlite import SqliteConnection, SqliteDriver
from cairn.kernel.store.store import Store


class ManyWriters(SqliteDriver):
    """SQLite as a database at which others write, too."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.one_writer = False


async def open_shared(path: Path, schema: Schema, clock: Clock) -> Store:
    """One more store on the database, which is made if it is not there."""
    await (await Store.open(path, schema, clock, inline=True, create_tables=True)).close()
    return Store(TransactionRunner(ManyWriters(path), schema, clock, NoMetrics()), inline=True)


@contextmanager
def changes_in_order() -> Iterator[list[str]]:
    """What is written to any database meanwhile: ``INSERT entry``, ``UPDATE zone``."""
    seen: list[str] = []

    def noting(method: Callable[..., object]) -> Callable[..., object]:
        def call(self: SqliteConnection, sql: str, values: object) -> object:
            words = sql.replace("INTO ", "").replace("FROM ", "").split()
            if words[0] in ("INSERT", "UPDATE", "DELETE"):
                seen.append(f"{words[0]} {words[1]}")
            return method(self, sql, values)

        return call

    with (
        patch.object(SqliteConnection, "execute", noting(SqliteConnection.execute)),
        patch.object(SqliteConnection, "execute_many", noting(SqliteConnection.execute_many)),
    ):
        yield seen


@contextmanager
def reads() -> Iterator[list[str]]:
    """The queries that any database is asked meanwhile."""
    seen: list[str] = []
    fetch = SqliteConnection.fetch

    def noting(self: SqliteConnection, sql: str, values: Sequence[SqlValue]) -> list[Row]:
        seen.append(sql)
        return fetch(self, sql, values)

    with patch.object(SqliteConnection, "fetch", noting):
        yield seen
