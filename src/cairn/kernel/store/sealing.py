"""The key file, and the sealing of what lies in a database that is older than its seals.

The file has a key in each line, base64; the first seals, the others only open. `rotate` puts a new one first. At its start,
before it opens the database, a node looks which columns were sealed with another key, or never, and seals their values anew.
Which key a column is sealed with is noted in the table ``sealed_column``, so a start that finds nothing to do looks at no
other table.

Two nodes that start for the first time at once may each have made a key of its own. The first row of that table decides: who
writes it has the cloud's key, and whoever does not know that key seals nothing (`claim_key`).
"""

from __future__ import annotations

import base64
import binascii
import os
from contextlib import closing, suppress
from pathlib import Path
from typing import Annotated, ClassVar

import structlog

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.store.address import database_at
from cairn.kernel.store.driver import Connection, Driver, Trouble
from cairn.kernel.store.opening import connected, driver_at, exists
from cairn.kernel.store.record import Field, Key, Kind, Record, RecordInfo, SqlValue, TableMeta
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.seal import KEY_BYTES, SealKey, Seals, envelope_of, is_envelope

_BITE = 200
_log = structlog.get_logger("cairn.store")


class SealedColumn(Record, frozen=True, kw_only=True):
    """With which key all values of a column are sealed."""

    meta: ClassVar[TableMeta] = TableMeta(table="sealed_column")

    name: Annotated[str, Key()]  #: ``table.field``
    seal_key: str


_NOTES = SealedColumn.meta.table
#: the note of the cloud itself, which no column is called like
_CLOUD = "*"


def open_seals(key_file: Path, database: str | Path) -> Seals:
    """The keys in the file; without a file, one is made with a new key, unless the database needs one that was there.

    Whether a key that was made is the cloud's says `claim_key`, once the database is there.

    Raises:
        CairnError: ``secret.key-missing``, ``secret.bad-key-file``.
    """
    needed = set(_noted(database).values())
    if not key_file.exists() and not needed:
        _write(key_file, [os.urandom(KEY_BYTES)], new=True)
    seals = Seals([SealKey(secret) for secret in _read(key_file, needed)])
    missing = sorted(key for key in needed if not seals.knows(key))
    if missing:
        raise _missing(key_file, missing)
    return seals


def require_keys(key_file: Path, needed: set[str]) -> Seals:
    """The keys in the file, these among them; where none is needed, the file need not be there. Makes no file.

    Raises:
        CairnError: ``secret.key-missing``, ``secret.bad-key-file``.
    """
    if not needed and not key_file.exists():
        return Seals.ephemeral()
    seals = Seals([SealKey(secret) for secret in _read(key_file, needed)])
    missing = sorted(key for key in needed if not seals.knows(key))
    if missing:
        raise _missing(key_file, missing)
    return seals


def keys_in(key_file: Path) -> list[SealKey]:
    """The keys of the file, the one that seals first.

    Raises:
        CairnError: ``secret.bad-key-file``, ``secret.key-missing`` when there is no file.
    """
    return [SealKey(secret) for secret in _read(key_file, {"of the cloud"})]


def rotate(key_file: Path) -> str:
    """Put a new key before those of the file, and return its id. What is in the database is sealed with it at the next start.

    Raises:
        CairnError: ``secret.bad-key-file``, ``secret.key-missing`` when there is no file.
    """
    secret = os.urandom(KEY_BYTES)
    _write(key_file, [secret, *_read(key_file, {"of the cloud"})])
    return SealKey(secret).id


def claim_key(database: str | Path, seals: Seals, key_file: Path) -> None:
    """Make this node's key the cloud's, or see that it has that. Before anything is sealed in the database. Safe to repeat.

    Raises:
        CairnError: ``secret.key-missing``: another node was quicker, and has sealed with a key that is not in `key_file`.
    """
    driver = driver_at(database_at(database))
    with closing(driver.connect(read_only=False)) as connection:
        found = _key_of_cloud(connection)
        if found is None and not _noted_first(connection, driver, seals.current.id):
            found = _key_of_cloud(connection)
        if found is None or found == seals.current.id:
            return
        if not seals.knows(found):
            raise _missing(key_file, [found])
        connection.begin()
        connection.execute(f"UPDATE {_NOTES} SET seal_key = ? WHERE name = ?", (seals.current.id, _CLOUD))  # noqa: S608 (ours)
        connection.commit()


def _key_of_cloud(connection: Connection) -> str | None:
    connection.begin()
    row = connection.fetch_one(f"SELECT seal_key FROM {_NOTES} WHERE name = ?", (_CLOUD,))  # noqa: S608 (a table of ours)
    connection.rollback()
    return None if row is None else str(row[0])


def _noted_first(connection: Connection, driver: Driver, key: str) -> bool:
    """Note the key as the cloud's. False: another node has noted one meanwhile."""
    connection.begin()
    try:
        connection.execute(f"INSERT INTO {_NOTES} (name, seal_key) VALUES (?, ?)", (_CLOUD, key))  # noqa: S608 (the same)
    except Exception as error:
        connection.rollback()
        trouble = driver.trouble(error)
        if trouble is None or trouble[0] is not Trouble.DUPLICATE:
            raise
        return False
    connection.commit()
    return True


def seal_database(database: str | Path, schema: Schema, seals: Seals) -> int:
    """Seal every value of a sealed column that is not sealed with the current key, and return how many there were.

    Safe to repeat, and while other nodes do the same: what is sealed already is passed over, and a value that changed meanwhile
    is left to whoever changed it. If anything was found in clear, a file is written anew, so that it is not left behind in
    pages that are free.

    Raises:
        CairnError: ``secret.damaged``, ``secret.key-missing``.
    """
    notes = _noted(database)
    waiting = [
        (record, field)
        for record in schema.by_table.values()
        for field in record.fields
        if field.sealed and notes.get(f"{record.meta.table}.{field.name}") != seals.current.id
    ]
    if not waiting:
        return 0
    with connected(database) as connection:
        connection.leave_no_traces()
        sealed, clear = 0, 0
        for record, field in waiting:
            was_sealed = f"{record.meta.table}.{field.name}" in notes
            some, of_them_clear = _seal_column(connection, record, field, seals, was_sealed)
            sealed, clear = sealed + some, clear + of_them_clear
        if clear:
            connection.remove_traces()
    if sealed:
        _log.info("secret.sealed", values=sealed, key=seals.current.id)
    return sealed


def _seal_column(
    connection: Connection, record: RecordInfo, field: Field, seals: Seals, was_sealed: bool
) -> tuple[int, int]:
    """Seal a column in bites; how many values, and how many of them lay there in clear."""
    table, key, column = record.meta.table, record.key.name, field.name
    name = f"{table}.{column}"
    sealed, clear = 0, 0
    last: SqlValue = "" if record.key.kind is not Kind.INT else -1
    while True:
        connection.begin()
        rows = connection.fetch(
            f'SELECT "{key}", "{column}" FROM "{table}" WHERE "{key}" > ? ORDER BY "{key}" LIMIT {_BITE}',  # noqa: S608 (declared names)
            (last,),
        )
        for row_key, value in rows:
            if not isinstance(value, str | bytes) or (was_sealed and seals.is_current(value)):
                continue
            plain, was_clear = _plain(value, name, seals, was_sealed)
            made = seals.seal(plain, name) if field.kind is Kind.BYTES else seals.seal_text(plain.decode(), name)
            connection.execute(
                f'UPDATE "{table}" SET "{column}" = ? WHERE "{key}" = ? AND "{column}" = ?',  # noqa: S608 (declared names)
                (made, row_key, value),
            )
            sealed, clear = sealed + 1, clear + was_clear
        connection.commit()
        if not rows:
            break
        last = rows[-1][0]
    _note(connection, name, seals.current.id)
    return sealed, clear


def _note(connection: Connection, column: str, key: str) -> None:
    connection.begin()
    connection.execute(f"DELETE FROM {_NOTES} WHERE name = ?", (column,))  # noqa: S608 (a table of ours)
    connection.execute(f"INSERT INTO {_NOTES} (name, seal_key) VALUES (?, ?)", (column, key))  # noqa: S608 (the same)
    connection.commit()


def _plain(value: str | bytes, name: str, seals: Seals, was_sealed: bool) -> tuple[bytes, bool]:
    """The value itself, and whether it lay there in clear: only a column that was never sealed may have such values."""
    if was_sealed or is_envelope(value):
        try:
            return seals.open(envelope_of(value), name), False
        except CairnError:
            if was_sealed:
                raise
    return (value if isinstance(value, bytes) else value.encode()), True


def _noted(database: str | Path) -> dict[str, str]:
    """Column -> id of the key that it is sealed with; nothing for a database that is older, or not there yet."""
    if not exists(database):
        return {}
    with connected(database, read_only=True) as connection:
        if _NOTES not in connection.columns():
            return {}
        rows = connection.fetch(f"SELECT name, seal_key FROM {_NOTES}", ())  # noqa: S608 (a table of ours)
        return {str(column): str(key) for column, key in rows}


def _read(key_file: Path, needed: set[str]) -> list[bytes]:
    try:
        if key_file.stat().st_mode & 0o077:
            raise _bad(key_file, "others on this machine can read it; chmod 600 it")
        lines = key_file.read_text(encoding="ascii").split()
    except FileNotFoundError:
        raise _missing(key_file, sorted(needed)) from None
    except (OSError, ValueError) as error:
        raise _bad(key_file, f"it cannot be read: {error}") from None
    try:
        keys = [base64.b64decode(line, validate=True) for line in lines]
    except (binascii.Error, ValueError):
        keys = []
    if not keys or any(len(key) != KEY_BYTES for key in keys):
        raise _bad(key_file, f"each of its lines should be a key: {KEY_BYTES} bytes as base64")
    return keys


def _write(key_file: Path, keys: list[bytes], *, new: bool = False) -> None:
    """Write the file whole: after a crash it is the former one, or this one."""
    part = key_file.with_name(f"{key_file.name}.new")
    part.unlink(missing_ok=True)
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "wb") as stream:
        stream.write(b"".join(base64.b64encode(key) + b"\n" for key in keys))
        stream.flush()
        os.fsync(stream.fileno())
    if new:
        with suppress(FileExistsError):  # never over a file that another process has made meanwhile
            os.link(part, key_file)
        part.unlink()
    else:
        part.replace(key_file)
    folder = os.open(key_file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _bad(key_file: Path, what: str) -> CairnError:
    return CairnError(
        "secret.bad-key-file",
        f"The file of the keys that secrets are sealed with, {key_file}, cannot be used: {what}.",
        kind=ErrorKind.CONFLICT,
    )


def _missing(key_file: Path, keys: list[str]) -> CairnError:
    return CairnError(
        "secret.key-missing",
        f"Secrets in the database are sealed with the key {', '.join(keys)}, which is not in {key_file}. Put that file back "
        "from the backup, or name it with CAIRN_SECRET_KEY_FILE; where other nodes of the cloud run, copy theirs. Without "
        "the key these secrets cannot be read by anybody.",
        kind=ErrorKind.CONFLICT,
        details={"keys": keys},
    )
