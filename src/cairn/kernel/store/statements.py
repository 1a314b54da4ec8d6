"""SQL texts, each built once by SQLAlchemy and kept, with what turns values into parameters and rows into records.

A text depends on the record and the shape of the call (which fields, which of them null or lists), never on values, so
the database's own cache of prepared statements is hit every time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Generic, NoReturn, TypeVar, cast

from msgspec import Struct
from sqlalchemy import (
    ColumnElement,
    Delete,
    Dialect,
    Insert,
    Select,
    Update,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.sql.compiler import SQLCompiler

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.store.driver import Row
from cairn.kernel.store.record import Codec, Field, Kind, Record, RecordInfo, SqlValue, info
from cairn.kernel.store.seal import Seals

T = TypeVar("T", bound=Record)
Statement = Select[*tuple[object, ...]] | Insert | Update | Delete
MAX_IN_LIST = 16_384
_KEPT = 2048
#: what is left of a call when its job has ended: no secret, so one envelope of it does for all
NOTHING = b"{}"
_EQUAL, _NULL = 0, -1
Shape = tuple[tuple[str, int], ...]


class TooLong(CairnError):
    """``store.too-many-values``: a list is longer than one statement takes."""

    def __init__(self, values: Sequence[object]) -> None:
        super().__init__(
            "store.too-many-values",
            f"a list of {len(values)} values is too long for one statement; at most {MAX_IN_LIST} fit. Go in parts.",
            kind=ErrorKind.INTERNAL,
        )


class InsertStatement(Struct, frozen=True, eq=False):
    """How a record becomes a row."""

    sql: str
    names: tuple[str, ...]  #: of the fields
    values: Callable[[Record], list[SqlValue]]  #: a record's values as the database takes them
    late: bool  #: it is a row of a log, see `numbering.py`


class SelectStatement(Struct, Generic[T], frozen=True, eq=False):
    """How rows become records."""

    sql: str
    make: Callable[[Row], T]


class CompiledStatement(Struct, frozen=True, eq=False):
    """A statement that somebody built with SQLAlchemy."""

    statement: Statement  #: kept, so that its identity is not used again
    compiled: SQLCompiler
    sql: str
    values: Callable[[Mapping[str, object]], list[SqlValue]]  #: of all parameters in order, from those that are given
    decoders: tuple[tuple[int, Codec], ...]
    expands: bool
    table: str  #: that it changes; "": none
    written: frozenset[str]  #: the columns that it sets; empty for all but an update

    def bind(self, given: Mapping[str, object]) -> tuple[str, list[SqlValue]]:
        """The text and its values in order."""
        if self.expands:
            return self._expand(given)
        return self.sql, self.values(given)

    def _expand(self, given: Mapping[str, object]) -> tuple[str, list[SqlValue]]:
        state = self.compiled.construct_expanded_state(dict(given))
        processors = {**self.compiled._bind_processors, **state.processors}
        values: list[object] = []
        for name in state.positiontup or ():
            value, encode = state.parameters[name], processors.get(name)
            values.append(value if not callable(encode) else encode(value))
        return state.statement, cast("list[SqlValue]", values)

    def decode(self, rows: list[Row]) -> list[tuple[object, ...]]:
        """The rows as Python values."""
        if not self.decoders:
            return cast("list[tuple[object, ...]]", rows)
        decoded: list[tuple[object, ...]] = []
        for row in rows:
            values: list[object] = list(row)
            for position, decode in self.decoders:
                values[position] = decode(values[position])
            decoded.append(tuple(values))
        return decoded


class Statements:
    """All SQL texts of one store. Several threads may use it: each entry is made whole before it is put in.

    Args:
        dialect: of the database.
        seals: for the values of fields that are sealed.
    """

    def __init__(self, dialect: Dialect, seals: Seals) -> None:
        self._dialect = dialect
        self.seals = seals
        self._inserts: dict[type[Record], InsertStatement] = {}
        self._gets: dict[tuple[type[Record], bool], SelectStatement[Record]] = {}
        self._locking = _locking_clause(dialect)
        self._texts: dict[tuple[object, ...], str] = {}
        self._makers: dict[type[Record], Callable[[Row], Record]] = {}
        self._compiled: dict[int, CompiledStatement] = {}
        self._encoders: dict[type[Record], Mapping[str, Codec | None]] = {}

    def insert(self, record: type[Record]) -> InsertStatement:
        """The statement for inserting one record."""
        return self._inserts.get(record) or self._make_insert(info(record))

    def numbered_insert(self, record: type[Record]) -> tuple[str, int]:
        """The text for inserting a record with its number, and where among the other values that stands."""
        here = info(record)
        names = (*self.insert(record).names, here.key.name)
        compiled = insert(here.table).values({name: bindparam(name) for name in names}).compile(dialect=self._dialect)
        return str(compiled), (compiled.positiontup or []).index(here.key.name)

    def get(self, record: type[T], *, lock: bool = False) -> SelectStatement[T]:
        """The statement for reading one record by key; `lock`: so that nobody else changes it before the commit."""
        made = self._gets.get((record, lock)) or self._make_get(info(record), lock)
        return cast("SelectStatement[T]", made)

    def find(
        self,
        record: type[T],
        equal: Mapping[str, object],
        order_by: str | None,
        descending: bool,
        limited: bool,
        lock: bool = False,
    ) -> tuple[SelectStatement[T], list[SqlValue]] | None:
        """The statement and its values for records whose fields are equal to `equal`; None if that can match nothing."""
        here = info(record)
        where = where_values(here, equal)
        if where is None:
            return None
        shape, values = where
        key = ("find", record, shape, order_by, descending, limited, lock)
        sql = self._texts.get(key)
        if sql is None:
            query = select(*here.table.c).where(*conditions(here, shape))
            if order_by is not None:
                column = here.table.c[field_name(here, order_by)]
                query = query.order_by(column.desc() if descending else column.asc())
            limit, locking = " LIMIT ?" if limited else "", self._locking if lock else ""
            sql = self._keep(key, f"{query.compile(dialect=self._dialect)}{limit}{locking}")
        return cast("SelectStatement[T]", SelectStatement(sql, self._maker(here))), values

    def count(self, record: type[Record], equal: Mapping[str, object]) -> tuple[str, list[SqlValue]] | None:
        """The text that counts such records; None if there can be none."""
        here = info(record)
        where = where_values(here, equal)
        if where is None:
            return None
        shape, values = where
        key = ("count", record, shape)
        sql = self._texts.get(key)
        if sql is None:
            query = select(func.count()).select_from(here.table).where(*conditions(here, shape))
            sql = self._keep(key, str(query.compile(dialect=self._dialect)))
        return sql, values

    def update(
        self, record: type[Record], equal: Mapping[str, object], values: Mapping[str, object]
    ) -> tuple[str, list[SqlValue]] | None:
        """The text that sets `values` where fields are equal to `equal`; None if that can change nothing."""
        here = info(record)
        where = where_values(here, equal)
        if where is None or not values:
            return None
        shape, where_bound = where
        names = tuple(values)
        key = ("update", record, names, shape)
        bound = self._bound(here, values)
        sql = self._texts.get(key)
        if sql is None:
            sets: list[tuple[ColumnElement[object], ColumnElement[object]]] = [
                (here.table.c[name], bindparam(f"v{i}")) for i, name in enumerate(names)
            ]
            change = update(here.table).ordered_values(*sets).where(*conditions(here, shape))
            sql = self._keep(key, str(change.compile(dialect=self._dialect)))
        return sql, bound + where_bound

    def delete(self, record: type[Record], equal: Mapping[str, object]) -> tuple[str, list[SqlValue]] | None:
        """The text that deletes such records; None if there can be none."""
        here = info(record)
        where = where_values(here, equal)
        if where is None:
            return None
        shape, values = where
        key = ("delete", record, shape)
        sql = self._texts.get(key)
        if sql is None:
            change = delete(here.table).where(*conditions(here, shape))
            sql = self._keep(key, str(change.compile(dialect=self._dialect)))
        return sql, values

    def compiled(self, statement: Statement) -> CompiledStatement:
        """A statement that somebody built, compiled; kept by its identity."""
        return self._compiled.get(id(statement)) or self._compile(statement)

    def _keep(self, key: tuple[object, ...], sql: str) -> str:
        if len(self._texts) >= _KEPT:
            self._texts.clear()
        self._texts[key] = sql
        return sql

    def _maker(self, here: RecordInfo) -> Callable[[Row], Record]:
        made = self._makers.get(here.record)
        if made is None:
            made = self._makers[here.record] = _maker(here, self.seals)
        return made

    def _make_insert(self, here: RecordInfo) -> InsertStatement:
        fields = [field for field in here.fields if not (field.key and field.key.auto)]
        names = [field.name for field in fields]
        statement = insert(here.table).values({name: bindparam(name) for name in names})
        compiled = statement.compile(dialect=self._dialect)
        order = compiled.positiontup or []
        values = _picker([(name, self._encoder(here, here.by_name[name])) for name in order])
        late = here.key.key is not None and here.key.key.in_commit_order
        made = self._inserts[here.record] = InsertStatement(str(compiled), tuple(order), values, late)
        return made

    def _encoder(self, here: RecordInfo, field: Field) -> Codec | None:
        return _sealer(here, field, self.seals) if field.sealed else field.encode

    def _bound(self, here: RecordInfo, values: Mapping[str, object]) -> list[SqlValue]:
        """The values of some fields as the database takes them."""
        encoders = self._encoders.get(here.record)
        if encoders is None:
            encoders = {field.name: self._encoder(here, field) for field in here.fields}
            self._encoders[here.record] = encoders
        bound: list[object] = []
        for name, value in values.items():
            encode = encoders[name] if name in encoders else encoders[field_name(here, name)]
            bound.append(value if encode is None or value is None else encode(value))
        return cast("list[SqlValue]", bound)

    def _make_get(self, here: RecordInfo, lock: bool) -> SelectStatement[Record]:
        query = select(*here.table.c).where(here.table.c[here.key.name] == bindparam("w0"))
        sql = f"{query.compile(dialect=self._dialect)}{self._locking if lock else ''}"
        made = self._gets[here.record, lock] = SelectStatement(sql, self._maker(here))
        return made

    def _compile(self, statement: Statement) -> CompiledStatement:
        compiled = statement.compile(dialect=self._dialect)
        processors = compiled._bind_processors
        made = CompiledStatement(
            statement=statement,
            compiled=compiled,
            sql=str(compiled),
            values=_binder(
                [
                    (name, compiled.params.get(name), cast("Codec | None", processors.get(name)))
                    for name in compiled.positiontup or ()
                ]
            ),
            decoders=self._result_decoders(statement),
            expands=bool(compiled.post_compile_params),
            table="" if isinstance(statement, Select) else str(getattr(statement.table, "name", "")),
            written=_written(statement),
        )
        if len(self._compiled) >= _KEPT:
            self._compiled.clear()
        self._compiled[id(statement)] = made
        return made

    def _result_decoders(self, statement: Statement) -> tuple[tuple[int, Codec], ...]:
        if not isinstance(statement, Select):
            return ()
        found: list[tuple[int, Codec]] = []
        for position, column in enumerate(statement.selected_columns):
            processor = column.type.result_processor(self._dialect, None)
            if processor is not None:
                found.append((position, processor))
        return tuple(found)


def _written(statement: Statement) -> frozenset[str]:
    if not isinstance(statement, Update):
        return frozenset()
    return frozenset(str(getattr(column, "name", column)) for column in statement._values or ())


def _locking_clause(dialect: Dialect) -> str:
    """What makes a SELECT lock its rows: `` FOR UPDATE``; nothing where one writer has the whole database (SQLite)."""
    plain: Select[tuple[int]] = select(literal_column("1"))
    return str(plain.with_for_update().compile(dialect=dialect)).removeprefix(str(plain.compile(dialect=dialect)))


def field_name(here: RecordInfo, name: str) -> str:
    """`name`, if the record has such a field."""
    if name not in here.by_name:
        raise CairnError(
            "store.unknown-field",
            f"{here.record.__qualname__} has no field {name!r}; it has {', '.join(here.by_name)}.",
            kind=ErrorKind.INTERNAL,
        )
    return name


@cache
def _lookable(record: type[Record]) -> Mapping[str, Codec | None]:
    """The fields by which rows are found, each with what makes its values as the database has them."""
    return {field.name: field.encode for field in info(record).fields if not field.sealed}


def _unlookable(here: RecordInfo, name: str) -> NoReturn:
    raise CairnError(
        "store.sealed-field",
        f"{here.record.__qualname__}.{field_name(here, name)} is sealed: no two envelopes are the same, so nothing is found "
        "by it.",
        kind=ErrorKind.INTERNAL,
    )


def _encoded(encode: Codec | None, value: object) -> SqlValue:
    return cast("SqlValue", value if encode is None or value is None else encode(value))


def where_values(here: RecordInfo, equal: Mapping[str, object]) -> tuple[Shape, list[SqlValue]] | None:
    """The shape of a condition and its values; None if an empty list makes it impossible.

    Lists are padded to the next power of two with their last value, so that there are few shapes.
    """
    shape: list[tuple[str, int]] = []
    values: list[SqlValue] = []
    lookable = _lookable(here.record)
    for name, value in equal.items():
        if value is None:
            shape.append((field_name(here, name), _NULL))
            continue
        encode = lookable[name] if name in lookable else _unlookable(here, name)
        if isinstance(value, (list, tuple, set, frozenset)):
            if not value:
                return None
            some = _padded([_encoded(encode, one) for one in value])
            shape.append((name, len(some)))
            values += some
        else:
            shape.append((name, _EQUAL))
            values.append(_encoded(encode, value))
    return tuple(shape), values


def in_parts(equal: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """For a condition with a list that is `TooLong`: conditions that together find the same rows, each once."""
    for name, value in equal.items():
        if isinstance(value, (list, tuple, set, frozenset)) and len(value) > MAX_IN_LIST:
            values = list(dict.fromkeys(value))
            for at in range(0, len(values), MAX_IN_LIST):
                yield {**equal, name: values[at : at + MAX_IN_LIST]}
            return


def conditions(here: RecordInfo, shape: Shape) -> list[ColumnElement[bool]]:
    """The WHERE clause of a shape, its parameters in the order of `where_values`."""
    found: list[ColumnElement[bool]] = []
    for i, (name, count) in enumerate(shape):
        column = here.table.c[name]
        if count == _NULL:
            found.append(column.is_(None))
        elif count == _EQUAL:
            found.append(column == bindparam(f"w{i}"))
        else:
            found.append(column.in_([bindparam(f"w{i}_{j}") for j in range(count)]))
    return found


def _padded(values: Sequence[SqlValue]) -> list[SqlValue]:
    if len(values) > MAX_IN_LIST:
        raise TooLong(values)
    size = 1 << (len(values) - 1).bit_length()
    return [*values, *[values[-1]] * (size - len(values))]


def _picker(fields: Sequence[tuple[str, Codec | None]]) -> Callable[[Record], list[SqlValue]]:
    """A function that takes these fields of a record, as the database has them; written as source, as `_maker`."""
    scope: dict[str, object] = {}
    values: list[str] = []
    for at, (name, encode) in enumerate(fields):
        value = f"row.{name}"
        if encode is not None:
            scope[f"encode_{at}"] = encode
            value = f"None if {value} is None else encode_{at}({value})"
        values.append(value)
    return cast("Callable[[Record], list[SqlValue]]", eval(f"lambda row: [{', '.join(values)}]", scope))  # noqa: S307 (as `_maker`)


def _binder(
    parameters: Sequence[tuple[str, object, Codec | None]],
) -> Callable[[Mapping[str, object]], list[SqlValue]]:
    """A function that takes the values of parameters, or their defaults, as the database has them; source, as `_maker`."""
    scope: dict[str, object] = {}
    values: list[str] = []
    for at, (name, default, encode) in enumerate(parameters):
        scope[f"default_{at}"] = default
        value = f"given.get({name!r}, default_{at})"
        if encode is not None:
            scope[f"encode_{at}"] = encode
            value = f"None if (value := {value}) is None else encode_{at}(value)"
        values.append(value)
    source = f"lambda given: [{', '.join(values)}]"
    return cast("Callable[[Mapping[str, object]], list[SqlValue]]", eval(source, scope))  # noqa: S307 (as `_maker`)


def _sealer(here: RecordInfo, field: Field, seals: Seals) -> Codec:
    column = f"{here.meta.table}.{field.name}"
    if field.kind is Kind.BYTES:
        nothing = seals.seal(NOTHING, column)
        return lambda value: nothing if value == NOTHING else seals.seal(cast("bytes", value), column)
    return lambda value: seals.seal_text(cast("str", value), column)


def _opener(here: RecordInfo, field: Field, seals: Seals) -> Codec:
    column = f"{here.meta.table}.{field.name}"
    if field.kind is Kind.BYTES:
        return lambda value: seals.open(cast("bytes", value), column)
    return lambda value: seals.open_text(cast("str", value), column)


def _maker(here: RecordInfo, seals: Seals) -> Callable[[Row], Record]:
    """A function that makes a record of a row; written as source, since every row that is read goes through one."""
    scope: dict[str, object] = {"record": here.record}
    values: list[str] = []
    for at, field in enumerate(here.fields):
        value = f"row[{at}]"
        decode = _opener(here, field, seals) if field.sealed else field.decode
        if decode is not None:
            scope[f"decode_{at}"] = decode
            value = f"None if row[{at}] is None else decode_{at}(row[{at}])"
        values.append(f"{field.name}={value}")
    source = f"lambda row: record({', '.join(values)})"
    return cast("Callable[[Row], Record]", eval(source, scope))  # noqa: S307 (made of declared field names only)
