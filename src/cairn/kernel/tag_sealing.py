"""The sealing of tags that lie in a database in clear: it is older than their seals, or a definition became `sealed` later."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import structlog

from cairn.kernel.store.driver import Connection
from cairn.kernel.store.opening import connected
from cairn.kernel.store.seal import Seals
from cairn.kernel.tag import SystemTag, TagDefinition

_BITE = 200
_TABLE = SystemTag.meta.table
_COLUMN = f"{_TABLE}.secret"
# Case is disregarded here, and what the pattern finds is looked at once more; what is sealed has nothing behind its prefix.
_FIND = (
    f"SELECT uuid, tag FROM {_TABLE} WHERE tag LIKE ? ESCAPE '|' AND resource_type = ? AND uuid > ? "  # noqa: S608 (a table of ours)
    f"ORDER BY uuid LIMIT {_BITE}"
)
_SEAL = f"UPDATE {_TABLE} SET tag = ?, secret = ? WHERE uuid = ? AND tag = ?"  # noqa: S608 (a table of ours)
_log = structlog.get_logger("cairn.store")


def seal_tags(database: str | Path, definitions: Iterable[TagDefinition], seals: Seals) -> int:
    """Seal the tags of all sealed definitions that lie in clear, and return how many there were.

    The database is up to date. Safe to repeat, and while other nodes do the same; where nothing is to be done it costs one look
    for each definition. If anything was found a file is written anew, so that nothing is left in free pages.
    """
    with connected(database) as connection:
        connection.leave_no_traces()
        found = sum(_seal_kind(connection, one, seals) for one in definitions if one.sealed)
        if found:
            connection.remove_traces()
            _log.info("tag.sealed", tags=found, key=seals.current.id)
        return found


def _seal_kind(connection: Connection, definition: TagDefinition, seals: Seals) -> int:
    prefix, found, last = definition.prefix, 0, ""
    pattern = "".join(f"|{letter}" if letter in "|%_" else letter for letter in prefix) + "_%"
    while True:
        connection.begin()
        rows = connection.fetch(_FIND, (pattern, definition.entity, last))
        for uuid, tag in rows:
            if isinstance(tag, str) and tag.startswith(prefix):
                value = seals.seal_text(tag[len(prefix) :], _COLUMN)
                found += connection.execute(_SEAL, (prefix, value, uuid, tag))
        connection.commit()
        if len(rows) < _BITE:
            return found
        last = str(rows[-1][0])
