"""The catalog of queries as data: for completion in the CLI, the API's documentation, the UI's view builder."""

from __future__ import annotations

from msgspec import Struct

from cairn.kernel.query.catalog import Catalog, Column, Entity
from cairn.kernel.query.condition import Operator
from cairn.kernel.query.resolve import is_indexed
from cairn.kernel.query.value import OPERATORS


class FieldDescription(Struct, frozen=True, kw_only=True, rename="camel"):
    """A field of an entity."""

    name: str
    kind: str  #: id, text, int, float, bool, time, enum, bytes, json
    doc: str
    unit: str  #: of a number; "" for none
    choices: tuple[str, ...]  #: of an enumeration
    nullable: bool
    indexed: bool  #: conditions on it alone stay fast in large tables
    shown: bool  #: whether inventories have it (tags are only for conditions)
    many: bool  #: it has a list of values; a condition looks whether one of them fits
    operators: tuple[str, ...]
    admin_only: bool  #: for accounts it does not exist


class JoinDescription(Struct, frozen=True, kw_only=True):
    """A way to another entity, by the name that queries use."""

    name: str
    entity: str
    many: bool
    nested: bool  #: inventories show them under this name: as a list, or if not `many`, the one there is, or null


class EntityDescription(Struct, frozen=True, kw_only=True):
    """An entity with its fields and joins."""

    name: str
    doc: str
    key: str
    fields: tuple[FieldDescription, ...]
    joins: tuple[JoinDescription, ...]
    parent: str | None  #: of a subtype
    type_field: str | None  #: of a parent: a condition type=value on it makes the subtype's fields usable
    subtypes: dict[str, str]  #: of a parent: the type's value -> the subtype's name
    owned: bool  #: an account sees only its own
    admin_only: bool  #: for accounts it does not exist
    columns: tuple[str, ...]  #: the default fields of a list; empty: the reader chooses


def describe(catalog: Catalog) -> dict[str, EntityDescription]:
    """All entities, by name, in alphabetical order."""
    return {name: _entity(catalog.entities[name]) for name in sorted(catalog.entities)}


def _entity(entity: Entity) -> EntityDescription:
    return EntityDescription(
        name=entity.name,
        doc=entity.info.doc,
        key=entity.key.wire,
        fields=tuple(_field(column, entity) for column in entity.columns.values()),
        joins=tuple(
            JoinDescription(name=join.name, entity=join.target, many=join.many, nested=join.name in entity.lists)
            for join in sorted(entity.joins.values(), key=lambda join: join.name)
        ),
        parent=entity.parent,
        type_field=entity.subtype_field,
        subtypes=dict(entity.subtypes),
        owned=entity.owned,
        admin_only=entity.admin_only,
        columns=entity.info.meta.columns,
    )


def _field(column: Column, entity: Entity) -> FieldDescription:
    field = column.field
    return FieldDescription(
        name=column.name,
        kind=field.kind.value,
        doc=field.doc,
        unit=field.unit,
        choices=field.choices,
        nullable=field.nullable or column.set,
        indexed=is_indexed(field),
        shown=not column.set or column.name in entity.lists,
        many=column.set,
        operators=tuple(one.value for one in Operator if one in OPERATORS[field.kind]),
        admin_only=field.admin_only,
    )
