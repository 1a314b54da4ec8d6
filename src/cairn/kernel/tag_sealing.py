"""The sealing of tags that lie in a database in clear: it is older than their seals, or a definition became `sealed` later."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import structlog

from cairn.kernel.store.seal import Seals
from cairn.kernel.store.sealing import forget_free_pages
from cairn.kernel.tag import SystemTag, TagDefinition

_BITE = 200
_TABLE = SystemTag.meta.table
_COLUMN = f"{_TABLE}.secret"
# The first two conditions are an index's range, without regard to case.
_FIND = (
    f"SELECT rowid, tag FROM {_TABLE} WHERE tag > ? AND tag < ? AND resource_type = ? "  # noqa: S608 (a table of ours)
    f"AND substr(tag, 1, ?) = ? COLLATE BINARY LIMIT {_BITE}"
)
_SEAL = f"UPDATE {_TABLE} SET tag = ?, secret = ? WHERE rowid = ?"  # noqa: S608 (a table of ours)
_log = structlog.get_logger("cairn.store")


def seal_tags(database: Path, definitions: Iterable[TagDefinition], seals: Seals) -> int:
    """Seal the tags of all sealed definitions that lie in clear, and return how many there were.

    The database is up to date, and open nowhere else. Safe to repeat; where nothing is to be done it costs one look at an
    index for each definition. If anything was found the file is written anew, so that nothing is left in free pages.
    """
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA secure_delete=ON")
        found = sum(_seal_kind(connection, one, seals) for one in definitions if one.sealed)
        if found:
            forget_free_pages(connection)
            _log.info("tag.sealed", tags=found, key=seals.current.id)
        return found


def _seal_kind(connection: sqlite3.Connection, definition: TagDefinition, seals: Seals) -> int:
    prefix, found = definition.prefix, 0
    while True:
        connection.execute("BEGIN IMMEDIATE")
        asked = (prefix, f"{prefix}\U0010ffff", definition.entity, len(prefix), prefix)
        rows: list[tuple[int, str]] = connection.execute(_FIND, asked).fetchall()
        for rowid, tag in rows:
            connection.execute(_SEAL, (prefix, seals.seal_text(tag[len(prefix) :], _COLUMN), rowid))
        connection.execute("COMMIT")
        found += len(rows)
        if len(rows) < _BITE:
            return found
