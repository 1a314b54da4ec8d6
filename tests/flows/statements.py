"""Statements that read a whole table: they cost more with each host and each VM, and hold up the database meanwhile."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

from cairn.kernel.store.sqlite import SqliteConnection
from cairn.testing.cloud import Cloud

#: tables of which a large cloud has few rows, too
FEW = frozenset(
    {
        "backup_storage",
        "cluster",
        "event_cursor",
        "flow_run",  # what is under way
        "global_config",
        "host_debt",
        "host_fault",
        "management_node",
        "network_service_provider",
        "plugin_trace",
        "primary_storage",
        "stray_vm",
        "zone",
    }
)
_METHODS = ("execute", "execute_many", "fetch", "fetch_one")
_SCAN = re.compile(r"SCAN (\w+)")


@contextmanager
def noted() -> Iterator[set[str]]:
    """All statements that are given to any database meanwhile."""
    seen: set[str] = set()

    def noting(method: Callable[..., object]) -> Callable[..., object]:
        def call(self: SqliteConnection, sql: str, values: object) -> object:
            seen.add(sql)
            return method(self, sql, values)

        return call

    patches = [patch.object(SqliteConnection, name, noting(getattr(SqliteConnection, name))) for name in _METHODS]
    for one in patches:
        one.start()
    try:
        yield seen
    finally:
        for one in patches:
            one.stop()


def whole_tables(cloud: Cloud, statements: set[str]) -> list[str]:
    """Those of the statements that read all rows of a table which grows with the cloud, each with the table.

    It is asked of a copy without statistics: they make a plan for the few rows of a test, where any plan will do. MariaDB always
    plans for the rows that there are, so only SQLite is asked.
    """
    if cloud.store.driver.dialect.name != "sqlite":
        return []
    copy = sqlite3.connect(":memory:")
    copy.deserialize(cloud.store.content())
    if copy.execute("SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_stat1'").fetchone():
        copy.execute("DELETE FROM sqlite_stat1")
        copy.execute("ANALYZE sqlite_schema")
    found = [f"{table}: {sql}" for sql in statements for table in _read_whole(copy, sql) if table not in FEW]
    copy.close()
    return sorted(found)


def _read_whole(copy: sqlite3.Connection, sql: str) -> list[str]:
    if not sql.startswith(("SELECT", "UPDATE", "DELETE", "INSERT", "WITH")) or _ends_early(sql):
        return []
    plan = copy.execute(f"EXPLAIN QUERY PLAN {sql}", [None] * sql.count("?"))
    return [found[1] for step in plan if (found := _SCAN.match(step[3])) is not None and found[1] != "CONSTANT"]


def _ends_early(sql: str) -> bool:
    """It reads rows in the order of their keys, and stops after some."""
    return "LIMIT" in sql and "WHERE" not in sql
