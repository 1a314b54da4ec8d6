"""Records: one declaration gives the table, the typed row, and what a query may ask of it.

    class Cluster(Record, frozen=True, kw_only=True):
        \"\"\"Hosts that can stand in for each other.\"\"\"

        meta: ClassVar[TableMeta] = TableMeta(table="cluster", entity="Cluster")
        uuid: Annotated[ClusterId, Key()]
        name: Annotated[str, Text(255), Index(), Doc("what people call it")]
        zone_uuid: Annotated[ZoneId, References(Zone, join="zone", back="clusters")]
        state: ClusterState = ClusterState.ENABLED
        create_date: datetime

A field's kind follows from its type. A `NewType` of str is an id, compared exactly; so is a str that is a key, a
reference, an owner, or whose name ends in ``uuid``. Any other str is text, compared without regard to case unless it is
marked ``Text(…, exact=True)``. int, float, bool, aware datetime, StrEnum and bytes are themselves; anything else that
msgspec encodes is stored as JSON text. ``X | None`` may be null.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum, StrEnum
from functools import cache
from typing import Annotated, ClassVar, NewType, Union, cast, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct
from sqlalchemy import ColumnClause, TableClause, column, table

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.store import types as columns
from cairn.kernel.store.types import CairnType, from_micros, to_micros
from cairn.kernel.words import dashed

SqlValue = str | int | float | bytes | None
OnDelete = str


class Key(Struct, frozen=True):
    """The primary key; each record has exactly one. `auto`: a whole number that the database counts up (insert 0).

    `in_commit_order`, of an `auto` key: the table is a log. Its rows are written at the very end of their transaction, and
    their numbers follow the order of commits, whichever node writes (`numbering.py`).
    """

    auto: bool = False
    in_commit_order: bool = False


class References(Struct, frozen=True, kw_only=False):
    """The field holds the key of another record; the database enforces it, and an index is made.

    `target` is a record class or a table's name, resolved when the schema is built, so that cycles and plugins work.
    `join` names the way there in queries, `back` the way from there to here. `on_delete`: "restrict" (the target
    cannot go while this row is there), "cascade" (this row goes too) or "set-null". `shown`: the target's inventory has these
    rows under the name `back`: all of them, a list, oldest first; or, if the field is `Unique`, the one there is, or null. So a
    plugin adds to the inventories of others; a page of them costs one statement more. Let there be few rows for one target.
    """

    target: type[Record] | str
    join: str | None = None
    back: str | None = None
    on_delete: OnDelete = "restrict"
    shown: bool = False


class Index(Struct, frozen=True):
    """Queries often search by this field, so an index is made."""


class Unique(Struct, frozen=True):
    """No two rows have the same value (nulls excepted). With `Index` it can be added to a table that is there already."""


class Text(Struct, frozen=True):
    """Up to `length` characters (None: no bound). `exact`: compared with regard to case."""

    length: int | None = 255
    exact: bool = False


class Hidden(Struct, frozen=True):
    """Never shown and never queryable: secrets, password hashes."""


class Sealed(Struct, frozen=True):
    """A secret: encrypted where it lies, with a key outside of the database (`cairn.kernel.store.seal`). It is `Hidden`, and
    nothing can be searched by it."""


class Continued(Struct, frozen=True):
    """The text goes on in the field `by`, which is sealed. Inventories show it whole; conditions see the beginning alone."""

    by: str


class Owner(Struct, frozen=True):
    """The uuid of the account that owns the row; an account that is not an admin sees only its own rows."""


class Doc(Struct, frozen=True):
    """One sentence on what the field says."""

    text: str


class Unit(Struct, frozen=True):
    """The unit of the number: bytes, Hz, seconds."""

    text: str


class Wire(Struct, frozen=True):
    """The field's name in the API where it is not the camel case of its own."""

    name: str


class Nested(Struct, frozen=True, kw_only=True):
    """A list of child inventories shown inside this one's: all rows of `entity` whose field `by` holds our key."""

    entity: str
    by: str
    order_by: str | None = None


class Uuids(Struct, frozen=True, kw_only=True):
    """A list of uuids shown in the inventory: column `other` of the rows of `link` whose column `own` is our key."""

    link: str
    own: str
    other: str


class Via(Struct, frozen=True, kw_only=True):
    """A join through a link table: `own` holds our key, `other` that of the target entity."""

    link: str
    own: str
    other: str
    target: str


class SubType(Struct, frozen=True, kw_only=True):
    """The record adds fields to the rows of `parent` whose `column` has `value`; both share the key."""

    parent: type[Record] | str
    column: str
    value: str


class Visible(StrEnum):
    """Who may see the rows of an entity that no account owns."""

    PUBLIC = "public"  #: every account
    ADMIN = "admin"  #: administrators


class AdminOnly(Struct, frozen=True):
    """Only administrators see the field, in inventories and in conditions; for others there is none."""


class TableMeta(Struct, frozen=True, kw_only=True):
    """The declaration of a record as a whole; its fields declare themselves.

    `entity`: its name in queries; None keeps the table internal. `noun`: the prefix of its errors' codes (``vm``) and
    `title`: what people read (``VM``); by default both follow from the entity. One of three says who may see it: a field
    marked `Owner`; `owned_by`, a field with `References` (the row belongs to whoever owns the row it points to);
    `visible`. `remembered`: nodes keep rows in memory, so changes of these fields (True: of any) are told to all of them
    (`invalidation.py`). `path`: of its collection in the API, where that is not the plural of its name. `columns`: the fields
    that a list of it shows, by wire name; empty: all. `nested`: lists inside the inventory (a string
    ``"Entity.field"`` is short for `Nested`). `via`: joins through link tables, by name. `local`: its rows are about this very
    database, so no dump has them.
    """

    table: str
    entity: str | None = None
    noun: str = ""
    title: str = ""
    visible: Visible | None = None
    path: str | None = None
    columns: tuple[str, ...] = ()
    nested: Mapping[str, Nested | Uuids | str] = {}
    via: Mapping[str, Via] = {}
    extends: SubType | None = None
    owned_by: str | None = None
    remembered: bool | frozenset[str] = False
    unique_together: tuple[tuple[str, ...], ...] = ()
    indexes: tuple[tuple[str, ...], ...] = ()
    local: bool = False


class Record(Struct, frozen=True, kw_only=True, rename="camel"):
    """A row of a table. Subclasses declare `meta` and their fields. Printed, it does not show what is hidden."""

    meta: ClassVar[TableMeta]

    def __repr__(self) -> str:
        shown = (f"{f.name}={'***' if f.hidden else repr(getattr(self, f.name))}" for f in info(type(self)).fields)
        return f"{type(self).__qualname__}({', '.join(shown)})"


class Named(Record, frozen=True, kw_only=True):
    """A resource: something that people name, tag, own and delete. `cairn.kernel.resource` has what all of them share."""

    uuid: Annotated[str, Key()]
    name: Annotated[str, Index()]
    description: Annotated[str | None, Text(2048)] = None
    create_date: datetime
    last_op_date: datetime


#: fields that come last, wherever a record declares them
_LAST = ("create_date", "last_op_date")


class Kind(StrEnum):
    """The kind of a field's values."""

    ID = "id"
    TEXT = "text"
    INT = "int"
    FLOAT = "float"
    BOOL = "bool"
    TIME = "time"
    ENUM = "enum"
    BYTES = "bytes"
    JSON = "json"
    OPAQUE = "opaque"  #: JSON of which the reader sees a part: nothing can be compared with it


Codec = Callable[[object], object]


class Field(Struct, frozen=True, kw_only=True, eq=False):
    """A field, as store and query engine see it."""

    name: str  #: in Python and in the table
    wire: str  #: in the API
    kind: Kind
    type: object  #: the Python type without None and markers
    nullable: bool
    column: CairnType[object]
    key: Key | None = None
    reference: References | None = None
    index: bool = False
    unique: bool = False
    hidden: bool = False
    sealed: bool = False
    continued: str | None = None  #: the name of the sealed field that the text goes on in
    owner: bool = False
    admin_only: bool = False
    exact: bool = False
    doc: str = ""
    unit: str = ""
    choices: tuple[str, ...] = ()
    encode: Codec | None = None  #: Python value (not None) -> driver value; None: as it is
    decode: Codec | None = None  #: driver value (not None) -> Python value; None: as it is


class RecordInfo(Struct, frozen=True, kw_only=True, eq=False):
    """All about one record class."""

    record: type[Record]
    meta: TableMeta
    doc: str
    fields: tuple[Field, ...]
    by_name: dict[str, Field]
    key: Field
    owner: Field | None
    table: TableClause  #: for statements; `Schema` holds the real tables with their constraints

    @property
    def noun(self) -> str:
        """The prefix of the codes of errors about it: ``vm``."""
        return self.meta.noun or dashed(self.meta.entity or self.meta.table.replace("_", "-"))

    @property
    def title(self) -> str:
        """The words that people use for such a thing: ``VM``, ``backup storage``."""
        return self.meta.title or self.noun.replace("-", " ")


def mistake(record: type, what: str) -> CairnError:
    """A declaration that cannot work (``store.bad-record``): a bug in the class named."""
    return CairnError("store.bad-record", f"{record.__module__}.{record.__qualname__}: {what}", kind=ErrorKind.INTERNAL)


@cache
def info(record: type[Record]) -> RecordInfo:
    """The declarations of the class, worked out once. Raises ``store.bad-record`` if they cannot work."""
    meta = getattr(record, "meta", None)
    if not isinstance(meta, TableMeta):
        raise mistake(record, "it needs `meta: ClassVar[TableMeta] = TableMeta(table=…)`.")
    hints = get_type_hints(record, include_extras=True)
    declared = sorted(msgspec.structs.fields(record), key=lambda f: f.name in _LAST)
    fields = tuple(_field(record, f.name, f.encode_name, hints[f.name]) for f in declared)
    keys = [field for field in fields if field.key]
    if len(keys) != 1:
        found = ", ".join(field.name for field in keys) or "none"
        raise mistake(record, f"exactly one field is marked Key(); found {found}.")
    _check_continued(record, fields)
    owners = [field for field in fields if field.owner]
    if len(owners) > 1:
        raise mistake(record, f"at most one field is marked Owner(); found {', '.join(f.name for f in owners)}.")
    return RecordInfo(
        record=record,
        meta=meta,
        doc=(record.__doc__ or "").strip(),
        fields=fields,
        by_name={field.name: field for field in fields},
        key=keys[0],
        owner=owners[0] if owners else None,
        table=table(meta.table, *(_plain_column(field) for field in fields)),
    )


def _check_continued(record: type[Record], fields: tuple[Field, ...]) -> None:
    sealed = {field.name for field in fields if field.sealed and field.kind is Kind.TEXT}
    for field in fields:
        if field.continued is not None and (field.kind is not Kind.TEXT or field.continued not in sealed):
            raise mistake(record, f"field {field.name} is marked Continued(): text fits, that goes on in sealed text.")


def _plain_column(field: Field) -> ColumnClause[object]:
    kind = columns.Closed() if field.sealed else field.column
    return cast("ColumnClause[object]", column(field.name, kind))


def table_of(record: type[Record]) -> TableClause:
    """The record's table for SQLAlchemy statements: ``t = table_of(Host); select(t.c.uuid).where(…)``.

    Build a statement once, at module level, with `bindparam` where values come in: it is compiled once and kept.
    """
    return info(record).table


def _field(record: type[Record], name: str, wire: str, hint: object) -> Field:
    plain, markers, nullable = _unwrap(hint)
    found = {type(marker): marker for marker in markers}
    kind, base = _kind(plain)
    key = cast("Key | None", found.get(Key))
    reference = cast("References | None", found.get(References))
    text = cast("Text | None", found.get(Text))
    if text is not None and kind not in (Kind.TEXT, Kind.ID):
        raise mistake(record, f"field {name} is marked Text() but is of type {plain!r}.")
    if kind is Kind.TEXT and text is None and (key or reference or Owner in found or name.endswith("uuid")):
        kind = Kind.ID
    if reference is not None and reference.on_delete not in ("restrict", "cascade", "set-null"):
        raise mistake(record, f"field {name}: on_delete is {reference.on_delete!r}; restrict, cascade or set-null fit.")
    if reference is not None and reference.on_delete == "set-null" and not nullable:
        raise mistake(record, f"field {name}: on_delete is set-null, so its type must allow None.")
    if key is not None and (nullable or (key.auto and kind is not Kind.INT)):
        raise mistake(record, f"field {name} is the key: its type cannot allow None, and Key(auto=True) wants an int.")
    if key is not None and key.in_commit_order and not key.auto:
        raise mistake(record, f"field {name} is the key: only numbers that are counted up, auto=True, follow commits.")
    if Sealed in found and (
        kind not in (Kind.TEXT, Kind.BYTES) or found.keys() & {Key, References, Index, Unique, Owner}
    ):
        raise mistake(
            record, f"field {name} is marked Sealed(): it can be text or bytes, and nothing that is searched by."
        )
    doc, unit, name_on_wire = found.get(Doc), found.get(Unit), found.get(Wire)
    continued = cast("Continued | None", found.get(Continued))
    encode, decode = _codec(kind, base)
    return Field(
        name=name,
        wire=name_on_wire.name if isinstance(name_on_wire, Wire) else wire,
        kind=kind,
        type=base,
        nullable=nullable,
        column=_column(kind, text),
        key=key,
        reference=reference,
        index=Index in found or reference is not None,
        unique=Unique in found,
        hidden=Hidden in found or Sealed in found,
        sealed=Sealed in found,
        continued=continued.by if continued is not None else None,
        owner=Owner in found,
        admin_only=AdminOnly in found,
        exact=kind is not Kind.TEXT or (text is not None and text.exact),
        doc=doc.text if isinstance(doc, Doc) else "",
        unit=unit.text if isinstance(unit, Unit) else "",
        choices=tuple(str(member.value) for member in base)
        if kind is Kind.ENUM and isinstance(base, type(Enum))
        else (),
        encode=encode,
        decode=decode,
    )


def _unwrap(hint: object) -> tuple[object, list[object], bool]:
    """The plain type, its markers, and whether None is allowed."""
    markers: list[object] = []
    nullable = False
    while True:
        if get_origin(hint) is Annotated:
            hint, *more = get_args(hint)
            markers += more
        elif get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint):
            rest = tuple(arg for arg in get_args(hint) if arg is not type(None))
            nullable = True
            hint = rest[0] if len(rest) == 1 else Union[rest]  # noqa: UP007 (built at run time)
        else:
            return hint, markers, nullable


def _kind(plain: object) -> tuple[Kind, object]:
    new_type = isinstance(plain, NewType)
    while isinstance(plain, NewType):
        plain = plain.__supertype__
    if plain is str:
        return (Kind.ID if new_type else Kind.TEXT), str
    simple = {int: Kind.INT, float: Kind.FLOAT, bool: Kind.BOOL, datetime: Kind.TIME, bytes: Kind.BYTES}
    if isinstance(plain, type) and plain in simple:
        return simple[plain], plain
    if isinstance(plain, type) and issubclass(plain, StrEnum):
        return Kind.ENUM, plain
    return Kind.JSON, plain


def _column(kind: Kind, text: Text | None) -> CairnType[object]:
    made: object
    match kind:
        case Kind.ID:
            made = columns.Id() if text is None else columns.Name(text.length, exact=True)
        case Kind.TEXT:
            made = columns.Name() if text is None else columns.Name(text.length, exact=text.exact)
        case Kind.INT:
            made = columns.Whole()
        case Kind.FLOAT:
            made = columns.Real()
        case Kind.BOOL:
            made = columns.Flag()
        case Kind.TIME:
            made = columns.Moment()
        case Kind.ENUM:
            made = columns.Choice()
        case Kind.BYTES:
            made = columns.Blob()
        case Kind.JSON | Kind.OPAQUE:
            made = columns.Json()
    return cast("CairnType[object]", made)


def _codec(kind: Kind, base: object) -> tuple[Codec | None, Codec | None]:
    """How values go into the database and come out; None where they are the same on both sides."""
    if kind is Kind.TIME:
        return cast("Codec", to_micros), cast("Codec", from_micros)
    if kind is Kind.BOOL:
        return cast("Codec", int), cast("Codec", bool)
    if kind is Kind.ENUM:
        return _enum_codec(cast("type[StrEnum]", base))
    if kind is Kind.JSON:
        encoder, decoder = msgspec.json.Encoder(), msgspec.json.Decoder(cast("type[object]", base))
        return (lambda value: encoder.encode(value).decode()), cast("Codec", decoder.decode)
    return None, None


def _enum_codec(enum: type[StrEnum]) -> tuple[Codec, Codec]:
    members = {member.value: member for member in enum}

    def encode(value: object) -> object:
        return value._value_ if type(value) is enum else enum(str(value))._value_

    return encode, cast("Codec", members.__getitem__)
