"""The schema: all records of a node together, with what they refer to resolved, as SQLAlchemy tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from sqlalchemy import Column, ForeignKey, MetaData, Table, UniqueConstraint
from sqlalchemy import Index as TableIndex

from cairn.kernel.store.invalidation import Invalidation
from cairn.kernel.store.names import short_name
from cairn.kernel.store.numbering import CommitSequence
from cairn.kernel.store.record import Field, Kind, Named, Record, RecordInfo, References, info, mistake
from cairn.kernel.store.types import PREFIX, is_long

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
_ON_DELETE = {"restrict": "RESTRICT", "cascade": "CASCADE", "set-null": "SET NULL"}


class Schema:
    """All records of a node.

    Args:
        records: every record class of the core and of the plugins that are on.

    Raises:
        CairnError: ``store.bad-record``: a declaration cannot work; the sentence names the class.
    """

    def __init__(self, records: Iterable[type[Record]]) -> None:
        self.records: tuple[type[Record], ...] = tuple(dict.fromkeys(records))
        if any(_is_log(record) for record in self.records):
            self.records = tuple(dict.fromkeys((*self.records, CommitSequence)))
        self.by_table: dict[str, RecordInfo] = {}
        self.by_entity: dict[str, RecordInfo] = {}
        for record in self.records:
            self._add(info(record))
        self.metadata = MetaData(naming_convention=NAMING)
        for record in self.records:
            self._make_table(info(record))
        #: name of a unique index or constraint -> its columns, ``table.column``, comma separated
        self.unique_keys = {name: columns for made in self.metadata.tables.values() for name, columns in _keys(made)}
        #: table -> the fields by which resources in it are deleted along with its rows
        self.deleted_along = {
            table: [
                (other, field)
                for other, field in self.referring_to(record)
                if issubclass(other.record, Named) and field.reference and field.reference.on_delete == "cascade"
            ]
            for table, record in self.by_table.items()
        }
        #: what nodes keep in memory: table -> whether every change of its rows is told, or those of which fields
        self.remembered: dict[str, bool | frozenset[str]] = {
            table: record.meta.remembered for table, record in self.by_table.items() if record.meta.remembered
        }
        #: table -> the remembered ones whose rows the database itself changes when a row of it is deleted
        self.changed_along = self._changed_along()
        self.tells = info(Invalidation).meta.table in self.by_table  #: changes of those are told to other nodes

    def _changed_along(self) -> dict[str, tuple[str, ...]]:
        pointing: dict[str, list[tuple[str, str | None]]] = {}
        for table in self.metadata.tables.values():
            for key in table.foreign_keys:
                pointing.setdefault(key.column.table.name, []).append((table.name, key.ondelete))
        found: dict[str, tuple[str, ...]] = {}
        for table_name in self.by_table:
            changed: set[str] = set()
            gone = [table_name]
            for deleted in gone:  # it grows meanwhile
                those = [
                    (other, on_delete) for other, on_delete in pointing.get(deleted, ()) if on_delete != "RESTRICT"
                ]
                changed.update(other for other, _ in those)
                gone += [other for other, on_delete in those if on_delete == "CASCADE" and other not in gone]
            if changed & self.remembered.keys():
                found[table_name] = tuple(sorted(changed & self.remembered.keys()))
        return found

    def target(self, record: type[Record], reference: References) -> RecordInfo:
        """The record that `reference` (declared in `record`) points to."""
        return self.resolve(record, reference.target)

    def resolve(self, record: type[Record], target: type[Record] | str) -> RecordInfo:
        """The record named in a declaration of `record` by class or by table."""
        table = target if isinstance(target, str) else info(target).meta.table
        found = self.by_table.get(table)
        if found is None:
            raise mistake(record, f"it refers to table {table!r}, which no record of this schema has.")
        return found

    def referring_to(self, target: RecordInfo) -> list[tuple[RecordInfo, Field]]:
        """Every field that points to `target`."""
        return [
            (here, field)
            for here in self.by_table.values()
            for field in here.fields
            if field.reference is not None and self.target(here.record, field.reference) is target
        ]

    def _add(self, record: RecordInfo) -> None:
        meta = record.meta
        other = self.by_table.setdefault(meta.table, record)
        if other is not record:
            raise mistake(record.record, f"table {meta.table!r} is taken by {other.record.__qualname__}.")
        if meta.entity is not None:
            other = self.by_entity.setdefault(meta.entity, record)
            if other is not record:
                raise mistake(record.record, f"entity {meta.entity!r} is taken by {other.record.__qualname__}.")

    def _make_table(self, record: RecordInfo) -> None:
        meta = record.meta
        parts: list[Column[object] | UniqueConstraint | TableIndex] = [self._column(record, f) for f in record.fields]
        for names in meta.unique_together:
            parts.append(UniqueConstraint(*self._known(record, names)))
        for names in meta.indexes:
            parts.append(TableIndex(None, *self._known(record, names)))
        made = Table(meta.table, self.metadata, *parts, sqlite_strict=True)
        if record.key.key is not None and record.key.key.auto:
            made.dialect_kwargs["sqlite_autoincrement"] = True  # numbers of deleted rows are not used again
        for index in made.indexes:
            if long := {column.name: PREFIX for column in index.columns if is_long(column.type)}:
                index.dialect_kwargs["mysql_length"] = long

    def _known(self, record: RecordInfo, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in record.by_name:
                raise mistake(record.record, f"an index or unique_together names {name!r}, which is not a field of it.")
        return names

    def _column(self, record: RecordInfo, field: Field) -> Column[object]:
        keys: list[ForeignKey] = []
        if field.reference is not None:
            keys.append(self._foreign_key(record, field, field.reference))
        elif field.key and record.meta.extends is not None:
            keys.append(self._foreign_key(record, field, References(record.meta.extends.parent, on_delete="cascade")))
        return Column(
            field.name,
            field.column,
            *keys,
            primary_key=field.key is not None,
            autoincrement=_counting(field),
            nullable=field.nullable,
            unique=field.unique or None,
            index=(field.index and not field.key) or None,
        )

    def _foreign_key(self, record: RecordInfo, field: Field, reference: References) -> ForeignKey:
        target = self.target(record.record, reference)
        if type(target.key.column) is not type(field.column):
            raise mistake(
                record.record,
                f"field {field.name} refers to {target.record.__qualname__}.{target.key.name} but has another type.",
            )
        return ForeignKey(f"{target.meta.table}.{target.key.name}", ondelete=_ON_DELETE[reference.on_delete])


def _is_log(record: type[Record]) -> bool:
    key = info(record).key.key
    return key is not None and key.in_commit_order


def _keys(table: Table) -> Iterator[tuple[str, str]]:
    for made in (*table.constraints, *table.indexes):
        if isinstance(made, UniqueConstraint) or (isinstance(made, TableIndex) and made.unique):
            columns = ", ".join(f"{table.name}.{column.name}" for column in made.columns)
            yield from ((name, columns) for name in {str(made.name), short_name(str(made.name))})


def _counting(field: Field) -> bool | Literal["auto"]:
    """SQLAlchemy's word for who numbers the rows. "auto", its default, leaves a text key alone."""
    if field.key is None or field.kind is not Kind.INT:
        return "auto"
    return field.key.auto
