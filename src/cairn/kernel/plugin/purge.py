"""Shows and removes what a plugin has left in the database of a node that does not run."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.plugin.trace import TraceKind


class Left(Struct, frozen=True, kw_only=True):
    """A thing that a plugin left in the database."""

    kind: TraceKind
    name: str
    rows: int  #: that go with it


def purge(path: Path, plugin: str, *, really: bool) -> list[Left]:
    """Find what a plugin left, and remove it if `really`: all of it in one transaction, or nothing. Safe to repeat.

    Jobs and events stay, as the record of what happened.

    Args:
        path: of the database; no node may be using it.

    Raises:
        CairnError: ``plugin.still-used``: a table of another plugin refers to one of its tables.
    """
    if not path.exists():
        return []
    with _transaction(path, really) as connection:
        if not _there(connection, "plugin_trace"):
            return []
        found = connection.execute("SELECT kind, name FROM plugin_trace WHERE plugin = ?", (plugin,)).fetchall()
        traces = sorted((TraceKind(kind), str(name)) for kind, name in found)
        _refuse_used(connection, plugin, {name for kind, name in traces if kind is TraceKind.TABLE})
        # what hangs on its resources goes before the tables that tell which these are
        order = sorted(traces, key=lambda one: (one[0] is TraceKind.TABLE, one))
        left = [Left(kind=kind, name=name, rows=_remove(connection, kind, name)) for kind, name in order]
        connection.execute("DELETE FROM plugin_trace WHERE plugin = ?", (plugin,))
        return left


def plugins_with_traces(path: Path) -> list[str]:
    """The plugins that have something in the database."""
    if not path.exists():
        return []
    with _transaction(path, False) as connection:
        if not _there(connection, "plugin_trace"):
            return []
        return [str(row[0]) for row in connection.execute("SELECT DISTINCT plugin FROM plugin_trace ORDER BY plugin")]


@contextmanager
def _transaction(path: Path, keep: bool) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA foreign_keys=OFF")  # tables go, and no row may take others along unseen
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT" if keep else "ROLLBACK")
    finally:
        connection.close()


def _there(connection: sqlite3.Connection, table: str) -> bool:
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)).fetchone()
    return found is not None


def _refuse_used(connection: sqlite3.Connection, plugin: str, own: set[str]) -> None:
    tables = [str(row[0]) for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in tables:
        if table in own:
            continue
        used = {str(row[2]) for row in connection.execute(f"PRAGMA foreign_key_list({_quoted(table)})")} & own
        if used:
            raise CairnError(
                "plugin.still-used",
                f"The table {table} refers to {', '.join(sorted(used))} of the plugin {plugin}. Purge the plugin that {table} "
                "belongs to first.",
                kind=ErrorKind.CONFLICT,
            )


def _remove(connection: sqlite3.Connection, kind: TraceKind, name: str) -> int:
    """Remove one thing. Returns how many rows went; a thing that is gone has none."""
    match kind:
        case TraceKind.TABLE | TraceKind.HISTORY:
            return _drop(connection, name)
        case TraceKind.ENTITY:
            for table in ("system_tag", "user_tag"):
                connection.execute(
                    f"DELETE FROM {table} WHERE resource_uuid IN (SELECT uuid FROM resource WHERE type = ?)",  # noqa: S608
                    (name,),
                )
            return connection.execute("DELETE FROM resource WHERE type = ?", (name,)).rowcount
        case TraceKind.SETTING:
            category, _, setting = name.partition(".")
            row = (category, setting)
            return connection.execute("DELETE FROM global_config WHERE category = ? AND name = ?", row).rowcount
        case TraceKind.TAG:
            entity, _, beginning = name.partition(" ")
            return connection.execute(
                "DELETE FROM system_tag WHERE resource_type = ? AND substr(tag, 1, ?) = ? COLLATE BINARY",
                (entity, len(beginning), beginning),
            ).rowcount
        case TraceKind.SUBSCRIBER:
            connection.execute("DELETE FROM event_cursor WHERE name = ?", (name,))
            return connection.execute("DELETE FROM event_delivery WHERE subscriber = ?", (name,)).rowcount


def _drop(connection: sqlite3.Connection, table: str) -> int:
    if not _there(connection, table):
        return 0
    rows = int(connection.execute(f"SELECT count(*) FROM {_quoted(table)}").fetchone()[0])  # noqa: S608
    connection.execute(f"DROP TABLE {_quoted(table)}")
    return rows


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
