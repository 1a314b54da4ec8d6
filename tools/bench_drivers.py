"""Measure Python's clients of MariaDB: ``python tools/bench_drivers.py [--rows 4000]``.

Prints microseconds of wall clock and of the client's CPU for each kind of statement, on a server that it starts, with durable
commits. Of mysqlclient, mariadb and PyMySQL those that are not installed are left out.
"""

from __future__ import annotations

import argparse
import importlib
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, cast

from cairn.kernel.store.mariadb import MariadbDriver
from cairn.kernel.store.record import SqlValue
from cairn.kernel.store.schema import Schema
from cairn.testing.mariadb import Server

TABLE = """CREATE TABLE t (uuid VARCHAR(64) CHARACTER SET ascii COLLATE ascii_nopad_bin PRIMARY KEY, name VARCHAR(255), n BIGINT,
content LONGTEXT, data LONGBLOB, account VARCHAR(64), moment BIGINT) DEFAULT CHARSET utf8mb4 COLLATE utf8mb4_nopad_bin"""
INSERT = "INSERT INTO t (uuid, name, n, content, data, account, moment) VALUES (?, ?, ?, ?, ?, ?, ?)"
SELECT = "SELECT uuid, name, n, content, data, account, moment FROM t WHERE uuid = ?"
UPDATE = "UPDATE t SET n = n - 1 WHERE uuid = ? AND n >= -1000000"
AT_ONCE = 50


class Client(Protocol):
    """What is measured."""

    def execute(self, sql: str, values: Sequence[SqlValue]) -> object:
        """Run a statement."""

    def fetch(self, sql: str, values: Sequence[SqlValue]) -> object:
        """Run a query and read its rows."""

    def execute_many(self, sql: str, values: list[Sequence[SqlValue]]) -> object:
        """Run a statement for many rows."""

    def commit(self) -> None:
        """Make it durable."""


class _Cursor(Protocol):
    def execute(self, sql: str, values: Sequence[SqlValue] = ..., /) -> object: ...

    def executemany(self, sql: str, values: list[Sequence[SqlValue]], /) -> object: ...

    def fetchall(self) -> object: ...


class _Connection(Protocol):
    def cursor(self) -> _Cursor: ...

    def commit(self) -> None: ...


class DbApi:
    """A client as PEP 249 has it."""

    def __init__(self, module: str, mark: str, **arguments: object) -> None:
        connect = cast("Callable[..., _Connection]", importlib.import_module(module).connect)
        self._connection = connect(**arguments)
        self._cursor = self._connection.cursor()
        self._mark = mark
        self.commit = self._connection.commit

    def execute(self, sql: str, values: Sequence[SqlValue]) -> object:
        """By its cursor."""
        return self._cursor.execute(sql.replace("?", self._mark), values)

    def fetch(self, sql: str, values: Sequence[SqlValue]) -> object:
        """All rows at once."""
        self._cursor.execute(sql.replace("?", self._mark), values)
        return self._cursor.fetchall()

    def execute_many(self, sql: str, values: list[Sequence[SqlValue]]) -> object:
        """By its own ``executemany``."""
        return self._cursor.executemany(sql.replace("?", self._mark), values)


def row(number: int) -> Sequence[SqlValue]:
    """About as large as an event."""
    return (f"{number:032d}", "name", number, '{"a": "b"}' * 12, b"\x00\xff" * 100, None, 1_700_000_000_000_000)


def measure(name: str, client: Client, rows: int) -> None:
    """Print a line for each kind of statement."""

    def timed(what: str, call: Callable[[int], object], count: int) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        for number in range(count):
            call(number)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(f"{name:20} {what:18} {wall / count * 1e6:7.1f} {cpu / count * 1e6:7.1f}")

    def update_and_commit(number: int) -> None:
        client.execute(UPDATE, row(number)[:1])
        client.commit()

    client.execute("DELETE FROM t", ())
    timed("insert", lambda number: client.execute(INSERT, row(number)), rows)
    client.commit()
    timed("by key", lambda number: client.fetch(SELECT, row(number)[:1]), rows)
    timed("guarded update", lambda number: client.execute(UPDATE, row(number)[:1]), rows)
    client.commit()
    timed("update and commit", update_and_commit, rows // 4)
    bulk = [[row(rows + number * AT_ONCE + one) for one in range(AT_ONCE)] for number in range(rows // AT_ONCE)]
    timed(f"{AT_ONCE} rows at once", lambda number: client.execute_many(INSERT, bulk[number]), len(bulk))
    client.commit()


def main() -> None:
    """Measure all that are installed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4000)
    rows = int(parser.parse_args().rows)
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder), durable=True)
        server.run("CREATE DATABASE bench")
        driver = MariadbDriver(server.address("bench"))
        own = driver.connect(read_only=False)
        for statement in (TABLE, *driver.tables(Schema([]))):
            own.execute(statement, ())
        own.begin()
        measure("mysqlclient, C layer", own, rows)
        where = {"unix_socket": f"{folder}/socket", "user": "root", "database": "bench"}
        for name, module, mark in (
            ("mysqlclient", "MySQLdb", "%s"),
            ("mariadb", "mariadb", "?"),
            ("PyMySQL", "pymysql", "%s"),
        ):
            try:
                measure(name, DbApi(module, mark, **where), rows)
            except ImportError:
                print(f"{name:20} is not installed")
        server.stop()


if __name__ == "__main__":
    main()
