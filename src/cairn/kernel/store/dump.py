"""A dump: the rows of all records in one file, which any database that cairn runs on can be filled from.

The file is lines of JSON: a `Header`; for each table its name and columns, and its rows, each a list of values as the database
has them; and an `End` with what was counted and a digest of all that stands before it. A file that lacks its end, or
was changed, is refused before anything is written. Values are the same in every kind of database (`cairn.kernel.store.types`).

Secrets stay sealed, and the keys to them are not in the file: who has it cannot read them, and who restores it needs the
key file as well.

Both directions go row by row: what they need of memory does not grow with the database. The database is read in one
transaction, as it was at one moment, and is filled in one: all of the dump or nothing of it.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, TypeVar, cast

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.store.driver import Connection, Driver, Row
from cairn.kernel.store.record import Kind, RecordInfo, SqlValue
from cairn.kernel.store.schema import Schema

FORMAT: Final = "cairn dump 1"
_PAGE = 1000
#: the longest line that is read: a value is bounded by what the API takes, a row by its values
_LONGEST_LINE = 256 << 20
_SEALED = "sealed_column"
T = TypeVar("T")
#: is told of a table, and of so many of its rows
Progress = Callable[[str, int], None]


class Header(Struct, frozen=True, kw_only=True):
    """The first line."""

    format: str
    version: str  #: of the cairn that wrote it
    created: str  #: when, ISO 8601
    database: str  #: the kind that it came from
    heads: dict[str, str]  #: by history: the newest script that the database had
    records: dict[str, str]  #: by table: the class that it belongs to
    seal_keys: list[str]  #: the ids of the keys that its secrets are sealed with


class _Table(Struct, frozen=True, kw_only=True):
    """The beginning of a table."""

    table: str
    columns: list[str]


class End(Struct, frozen=True, kw_only=True):
    """The last line."""

    rows: dict[str, int]  #: by table
    numbers: dict[str, int]  #: by table: the last number that the database counted up to
    sha256: str


class Content(Struct, frozen=True, kw_only=True):
    """A file that is whole."""

    header: Header
    end: End


# -- writing -----------------------------------------------------------------------------------------------------------------


def write_dump(
    file: Path,
    driver: Driver,
    schema: Schema,
    *,
    version: str,
    created: str,
    heads: Mapping[str, str],
    progress: Progress,
) -> Content:
    """Write all rows into a new file, which only its owner may read; ``.gz`` at the end of its name: compressed.

    Raises:
        CairnError: ``dump.file-exists``; ``store.broken``.
    """
    if file.exists():
        raise CairnError(
            "dump.file-exists",
            f"{file} is there already. Choose another name, or remove it.",
            kind=ErrorKind.CONFLICT,
        )
    connection = driver.connect(read_only=True)
    part = file.with_name(f".{file.name}.part")
    part.unlink(missing_ok=True)
    try:
        connection.begin()
        with _opened(part, file.name, "wb") as stream:
            header = Header(
                format=FORMAT,
                version=version,
                created=created,
                database=driver.dialect.name,
                heads=dict(heads),
                records={record.meta.table: record.record.__qualname__ for record in in_order(schema)},
                seal_keys=seal_keys(connection, driver, schema),
            )
            end = _Writing(stream, connection, driver, progress).all(header, schema)
        connection.rollback()
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
        connection.close()
    return Content(header=header, end=end)


class _Writing:
    def __init__(self, stream: IO[bytes], connection: Connection, driver: Driver, progress: Progress) -> None:
        self._stream = stream
        self._connection = connection
        self._driver = driver
        self._progress = progress
        self._digest = hashlib.sha256()

    def all(self, header: Header, schema: Schema) -> End:
        self._line(header)
        rows = {record.meta.table: self._table(record) for record in in_order(schema)}
        numbers = {table: number for table, number in self._connection.last_numbers().items() if table in rows}
        end = End(rows=rows, numbers=numbers, sha256=self._digest.hexdigest())
        self._stream.write(msgspec.json.encode(end) + b"\n")
        return end

    def _table(self, record: RecordInfo) -> int:
        self._line(_Table(table=record.meta.table, columns=[field.name for field in record.fields]))
        count = 0
        for page in pages(self._connection, self._driver, record, [field.name for field in record.fields]):
            for row in page:
                self._line([{"b": base64.b64encode(one).decode()} if isinstance(one, bytes) else one for one in row])
            count += len(page)
            self._progress(record.meta.table, count)
        return count

    def _line(self, value: object) -> None:
        line = msgspec.json.encode(value) + b"\n"
        self._digest.update(line)
        self._stream.write(line)


def pages(connection: Connection, driver: Driver, record: RecordInfo, columns: Sequence[str]) -> Iterator[list[Row]]:
    """All rows of a table, some at a time, in the order of its key: those columns, as the database has them."""
    quote = driver.dialect.identifier_preparer.quote
    key, table = quote(record.key.name), quote(record.meta.table)
    picked = ", ".join(quote(name) for name in columns)
    begin = f"SELECT {key}, {picked} FROM {table}"  # noqa: S608 (declared names)
    end = f" ORDER BY {key} LIMIT {_PAGE}"
    page = connection.fetch(f"{begin}{end}", ())
    while page:
        yield [row[1:] for row in page]
        if len(page) < _PAGE:
            return
        page = connection.fetch(f"{begin} WHERE {key} > ?{end}", (page[-1][0],))


def in_order(schema: Schema) -> list[RecordInfo]:
    """The records that are dumped, each behind those that it refers to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Cannot correctly sort tables", sa.exc.SAWarning)
        sorted_tables = schema.metadata.sorted_tables
    records = [schema.by_table[table.name] for table in sorted_tables]
    return [record for record in records if not record.meta.local]


def seal_keys(connection: Connection, driver: Driver, schema: Schema) -> list[str]:
    """The ids of the keys that a database's secrets are sealed with."""
    if _SEALED not in schema.by_table:
        return []
    rows = (row for page in pages(connection, driver, schema.by_table[_SEALED], ["seal_key"]) for row in page)
    return sorted({str(row[0]) for row in rows})


# -- reading -----------------------------------------------------------------------------------------------------------------


def verify(file: Path, heads: Mapping[str, str], schema: Schema) -> Content:
    """Read a whole file, and see that it is as it was written and fits to this cairn. Changes nothing.

    Args:
        heads: by history: the newest script of this cairn.

    Raises:
        CairnError: ``dump.damaged``, ``dump.other-version``, ``dump.plugin-missing``, ``dump.no-file``.
    """
    header: Header | None = None
    end: End | None = None
    counts: dict[str, int] = {}
    table: _Table | None = None
    for number, (line, digest) in enumerate(_lines(file), start=1):
        if header is None:
            header = _decoded(line, Header, number)
            if header.format != FORMAT:
                raise _damaged(f"its first line does not say {FORMAT!r}")
            _check_version(header, heads, schema)
        elif end is not None:
            raise _damaged(f"line {number} stands behind its end")
        elif line.startswith(b"["):
            if table is None or len(_row(line, number)) != len(table.columns):
                raise _damaged(f"line {number} has not the columns of its table")
            counts[table.table] += 1
        elif line.startswith(b'{"table":'):
            table = _decoded(line, _Table, number)
            _check_table(table, counts, schema)
            counts[table.table] = 0
        else:
            end = _decoded(line, End, number)
            if digest != end.sha256 or counts != end.rows:
                raise _damaged("its rows are not those that it was written with")
    if header is None or end is None:
        raise _damaged("its end is missing: it was not written to the end, or cut off")
    return Content(header=header, end=end)


def _check_version(header: Header, heads: Mapping[str, str], schema: Schema) -> None:
    missing = sorted(header.heads.keys() - heads.keys()) or sorted(header.records.keys() - schema.by_table.keys())
    if missing:
        raise CairnError(
            "dump.plugin-missing",
            f"The dump has tables of {', '.join(missing)}, which this cairn does not know. Load the plugin that they belong to, "
            "and restore again.",
            kind=ErrorKind.CONFLICT,
            details={"missing": missing},
        )
    other = {name: (found, heads[name]) for name, found in header.heads.items() if heads[name] != found}
    if other:
        told = "; ".join(
            f"{name}: the dump has {found}, this cairn {own}" for name, (found, own) in sorted(other.items())
        )
        raise CairnError(
            "dump.other-version",
            f"The dump was written by cairn {header.version}, whose tables are others ({told}). Restore it with cairn "
            f"{header.version}, then run `cairn db upgrade` with this one.",
            kind=ErrorKind.CONFLICT,
            details={"version": header.version, "heads": header.heads},
        )


def _check_table(table: _Table, counts: Mapping[str, int], schema: Schema) -> None:
    record = schema.by_table.get(table.table)
    if record is None or table.table in counts or {field.name for field in record.fields} != set(table.columns):
        raise _damaged(f"the table {table.table[:64]} is not as this cairn has it")


def _lines(file: Path) -> Iterator[tuple[bytes, str]]:
    """The lines, each with the digest of those before it."""
    digest = hashlib.sha256()
    try:
        with _opened(file, file.name, "rb") as stream:
            while line := stream.readline(_LONGEST_LINE):
                if not line.endswith(b"\n"):
                    raise _damaged("its last line has no end: it was cut off")
                yield line, digest.hexdigest() if line.startswith(b'{"rows":') else ""
                digest.update(line)
    except FileNotFoundError:
        raise CairnError("dump.no-file", f"There is no file {file}.", kind=ErrorKind.NOT_FOUND) from None
    except (EOFError, gzip.BadGzipFile) as error:
        raise _damaged(f"it cannot be unpacked: {error}") from error


def _decoded(line: bytes, kind: type[T], number: int) -> T:
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.MsgspecError as error:
        raise _damaged(f"line {number} is none of a dump: {error}") from error


def _row(line: bytes, number: int) -> list[SqlValue]:
    try:
        return [_value(one) for one in msgspec.json.decode(line, type=list[str | int | float | dict[str, str] | None])]
    except (msgspec.MsgspecError, KeyError, ValueError) as error:
        raise _damaged(f"line {number} is no row: {error}") from error


def _value(value: str | int | float | dict[str, str] | None) -> SqlValue:
    return base64.b64decode(value["b"], validate=True) if isinstance(value, dict) else value


def _damaged(what: str) -> CairnError:
    return CairnError(
        "dump.damaged",
        f"The file cannot be restored: {what}. Nothing was changed. Take another copy of it, or another dump.",
        kind=ErrorKind.INVALID,
    )


# -- filling a database ------------------------------------------------------------------------------------------------------


def tables_with_rows(connection: Connection, driver: Driver, schema: Schema) -> list[str]:
    """The tables that are not empty, but for what a new database notes of its seals."""
    quote = driver.dialect.identifier_preparer.quote
    tables = [one.meta.table for one in in_order(schema) if one.meta.table != _SEALED]
    asked = ((table, f"SELECT 1 FROM {quote(table)} LIMIT 1") for table in tables)  # noqa: S608 (declared names)
    return [table for table, sql in asked if connection.fetch_one(sql, ())]


def restore(file: Path, content: Content, driver: Driver, schema: Schema, *, force: bool, progress: Progress) -> None:
    """Fill a database from a file that was verified, in one transaction.

    Args:
        force: what is in the database is removed first, in the same transaction; else it has to be empty.

    Raises:
        CairnError: ``dump.not-empty``; what the database refuses.
    """
    connection = driver.connect(read_only=False)
    try:
        connection.begin()
        _make_room(connection, driver, schema, force=force)
        for record, columns, rows in _tables(file, schema):
            count = 0
            for some in rows:
                connection.execute_many(_insertion(driver, record, columns), some)
                count += len(some)
                progress(record.meta.table, count)
        for table, number in content.end.numbers.items():
            _count_on(connection, driver, schema.by_table[table], number)
        connection.commit()
    finally:
        connection.rollback()
        connection.close()


def _make_room(connection: Connection, driver: Driver, schema: Schema, *, force: bool) -> None:
    there = tables_with_rows(connection, driver, schema)
    if there and not force:
        raise CairnError(
            "dump.not-empty",
            f"The database has rows already, in {', '.join(there[:5])}{' and other tables' if len(there) > 5 else ''}. Name "
            "an empty one, or use --force, which removes all that is in it. Make a backup before.",
            kind=ErrorKind.CONFLICT,
            details={"tables": there},
        )
    quote = driver.dialect.identifier_preparer.quote
    for record in reversed(in_order(schema)):
        connection.execute(f"DELETE FROM {quote(record.meta.table)}", ())  # noqa: S608 (declared names)


def _tables(file: Path, schema: Schema) -> Iterator[tuple[RecordInfo, list[str], Iterator[list[list[SqlValue]]]]]:
    """The tables of a file that was verified, each with its rows, some at a time."""
    lines = (line for line, _ in _lines(file))
    next(lines)
    line = next(lines)
    while line.startswith(b'{"table":'):
        table = _decoded(line, _Table, 0)
        behind: list[bytes] = []
        yield schema.by_table[table.table], table.columns, _rows(lines, behind)
        line = behind[0]


def _rows(lines: Iterator[bytes], behind: list[bytes]) -> Iterator[list[list[SqlValue]]]:
    some: list[list[SqlValue]] = []
    for line in lines:
        if not line.startswith(b"["):
            behind.append(line)
            break
        some.append(_row(line, 0))
        if len(some) == _PAGE:
            yield some
            some = []
    if some:
        yield some


def _insertion(driver: Driver, record: RecordInfo, columns: Sequence[str]) -> str:
    quote = driver.dialect.identifier_preparer.quote
    names, marks = ", ".join(quote(name) for name in columns), ", ".join("?" * len(columns))
    return f"INSERT INTO {quote(record.meta.table)} ({names}) VALUES ({marks})"  # noqa: S608 (declared names)


def _count_on(connection: Connection, driver: Driver, record: RecordInfo, number: int) -> None:
    """Have the database count on behind `number`: numbers of rows that are gone are not given again, since others know them."""
    if any(field.reference is not None and not field.nullable for field in record.fields):
        return  # a row that refers to others is known by these, and its number to nobody
    quote = driver.dialect.identifier_preparer.quote
    table, key = quote(record.meta.table), quote(record.key.name)
    if connection.fetch_one(f"SELECT 1 FROM {table} WHERE {key} >= ? LIMIT 1", (number,)):  # noqa: S608 (declared names)
        return
    columns = [field.name for field in record.fields]
    values = [number if field.key is not None else _nothing(field.kind, field.nullable) for field in record.fields]
    connection.execute(_insertion(driver, record, columns), values)
    connection.execute(f"DELETE FROM {table} WHERE {key} = ?", (number,))  # noqa: S608 (declared names)


def _nothing(kind: Kind, nullable: bool) -> SqlValue:
    if nullable:
        return None
    if kind is Kind.BYTES:
        return b""
    return 0 if kind in (Kind.INT, Kind.FLOAT, Kind.BOOL, Kind.TIME) else "{}"


@contextmanager
def _opened(path: Path, name: str, mode: str) -> Iterator[IO[bytes]]:
    """The file, packed if it is called so; what is written is flushed to the disk."""
    writes = mode == "wb"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL if writes else os.O_RDONLY
    with os.fdopen(os.open(path, flags, 0o600), mode) as raw:
        if name.endswith(".gz"):
            with gzip.GzipFile(fileobj=raw, mode=mode, filename="") as packed:
                yield cast("IO[bytes]", packed)
        else:
            yield cast("IO[bytes]", raw)
        if writes:
            raw.flush()
            os.fsync(raw.fileno())
