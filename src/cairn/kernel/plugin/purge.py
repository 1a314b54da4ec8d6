"""Shows and removes what a plugin has left in the database, while no node works with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from msgspec import Struct

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.plugin.trace import TraceKind
from cairn.kernel.store.address import database_at
from cairn.kernel.store.driver import Connection, Driver
from cairn.kernel.store.opening import driver_at, exists
from cairn.kernel.store.upgrading import UNDERWAY, VERSION_TABLE


class Left(Struct, frozen=True, kw_only=True):
    """A thing that a plugin left in the database."""

    kind: TraceKind
    name: str
    rows: int  #: that go with it


def purge(database: str | Path, plugin: str, *, really: bool) -> list[Left]:
    """Find what a plugin left, and remove it if `really`. Safe to repeat.

    On SQLite all of it goes in one transaction, or nothing. A server commits with each table that goes: what is broken off there
    goes on when it is repeated, since what tells of it goes last. Jobs and events stay, as the record of what happened.

    Args:
        database: as for `Store.open`; no node may be using it.

    Raises:
        CairnError: ``plugin.still-used``: a table of another plugin refers to one of its tables.
    """
    with _opened(database) as work:
        return [] if work is None else work.purge(plugin, really=really)


def plugins_with_traces(database: str | Path) -> list[str]:
    """The plugins that have something in the database."""
    with _opened(database) as work:
        return [] if work is None else work.plugins()


@contextmanager
def _opened(database: str | Path) -> Iterator[_Purge | None]:
    """None: there is no database, or one that knows of no plugins."""
    if not exists(database):
        yield None
        return
    driver = driver_at(database_at(database))
    with closing(driver.connect(read_only=False)) as connection:
        tables = set(connection.columns())
        yield _Purge(connection, driver, tables) if "plugin_trace" in tables else None


class _Purge:
    def __init__(self, connection: Connection, driver: Driver, tables: set[str]) -> None:
        self._connection = connection
        self._quoted = driver.dialect.identifier_preparer.quote_identifier
        self._tables = tables

    def plugins(self) -> list[str]:
        rows = self._connection.fetch("SELECT DISTINCT plugin FROM plugin_trace ORDER BY plugin", ())
        self._connection.rollback()
        return [str(row[0]) for row in rows]

    def purge(self, plugin: str, *, really: bool) -> list[Left]:
        references = self._connection.references()
        self._connection.watch_references(False)  # tables go, and no row may take others along unseen
        self._connection.begin()
        try:
            left = self._left(plugin, references)
            if really:
                self._drop(left)
                self._connection.execute("DELETE FROM plugin_trace WHERE plugin = ?", (plugin,))
                self._connection.commit()
        finally:
            self._connection.rollback()
        return left

    def _left(self, plugin: str, references: dict[str, set[str]]) -> list[Left]:
        """What it left; the rows of others' tables are gone in the open transaction."""
        found = self._connection.fetch("SELECT kind, name FROM plugin_trace WHERE plugin = ?", (plugin,))
        traces = sorted((TraceKind(str(kind)), str(name)) for kind, name in found)
        _refuse_used(references, plugin, {name for kind, name in traces if kind is TraceKind.TABLE})
        # what hangs on its resources goes before the tables that tell which these are
        order = sorted(traces, key=lambda one: (one[0] is TraceKind.TABLE, one))
        return [Left(kind=kind, name=name, rows=self._rows(kind, name)) for kind, name in order]

    def _rows(self, kind: TraceKind, name: str) -> int:
        """How many rows of a thing there are; those in others' tables are removed. A thing that is gone has none."""
        match kind:
            case TraceKind.TABLE:
                return self._count(name)
            case TraceKind.HISTORY:
                if (
                    UNDERWAY in self._tables
                ):  # what was broken off would be gone on with, behind what is not there any more
                    label = name.removeprefix(VERSION_TABLE)
                    self._connection.execute(f"DELETE FROM {UNDERWAY} WHERE label = ?", (label,))  # noqa: S608 (a name of ours)
                return self._count(name)
            case TraceKind.ENTITY:
                of_type = "resource_uuid IN (SELECT uuid FROM resource WHERE type = ?)"
                self._connection.execute(f"DELETE FROM system_tag WHERE {of_type}", (name,))  # noqa: S608 (a text of ours)
                self._connection.execute(f"DELETE FROM user_tag WHERE {of_type}", (name,))  # noqa: S608 (the same)
                return self._connection.execute("DELETE FROM resource WHERE type = ?", (name,))
            case TraceKind.SETTING:
                category, _, setting = name.partition(".")
                row = (category, setting)
                return self._connection.execute("DELETE FROM global_config WHERE category = ? AND name = ?", row)
            case TraceKind.TAG:
                entity, _, beginning = name.partition(" ")
                return self._tags(entity, beginning)
            case TraceKind.SUBSCRIBER:
                self._connection.execute("DELETE FROM event_cursor WHERE name = ?", (name,))
                return self._connection.execute("DELETE FROM event_delivery WHERE subscriber = ?", (name,))

    def _count(self, table: str) -> int:
        if table not in self._tables:
            return 0
        row = self._connection.fetch_one(f"SELECT count(*) FROM {self._quoted(table)}", ())  # noqa: S608 (quoted)
        return 0 if row is None else int(str(row[0]))

    def _tags(self, entity: str, beginning: str) -> int:
        """Databases compare texts each in its way: whether a tag begins so, case and all, is looked at here."""
        asked = "SELECT uuid, tag FROM system_tag WHERE resource_type = ? AND substr(tag, 1, ?) = ?"
        rows = self._connection.fetch(asked, (entity, len(beginning), beginning))
        mine = [(uuid,) for uuid, tag in rows if str(tag).startswith(beginning)]
        return self._connection.execute_many("DELETE FROM system_tag WHERE uuid = ?", mine) if mine else 0

    def _drop(self, left: list[Left]) -> None:
        for one in left:
            if one.kind in (TraceKind.TABLE, TraceKind.HISTORY) and one.name in self._tables:
                self._connection.execute(f"DROP TABLE {self._quoted(one.name)}", ())


def _refuse_used(references: dict[str, set[str]], plugin: str, own: set[str]) -> None:
    for table in sorted(references.keys() - own):
        if used := references[table] & own:
            raise CairnError(
                "plugin.still-used",
                f"The table {table} refers to {', '.join(sorted(used))} of the plugin {plugin}. Purge the plugin that {table} "
                "belongs to first.",
                kind=ErrorKind.CONFLICT,
            )
