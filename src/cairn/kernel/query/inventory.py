"""Inventories: rows by key, with what the record's extensions add and the lists that are shown inside.

Texts are made once per entity (and number of keys, rounded up). Keys come and inventories go in the same order. One
statement per table, whatever the number of rows. The caller may see the rows whose keys come; rows
that are shown inside are checked here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import cast

import msgspec
from msgspec import Struct

from cairn.kernel.error import ErrorRecord
from cairn.kernel.query.catalog import Catalog, Entity, ShownList
from cairn.kernel.query.plan import Fragment, Planner
from cairn.kernel.store.driver import Driver, Row
from cairn.kernel.store.record import Field, Kind, SqlValue
from cairn.kernel.store.seal import Seals
from cairn.kernel.store.tx import Tx
from cairn.kernel.store.types import from_micros

Inventory = dict[str, object]
Decode = Callable[[object], object]
Open = Callable[[str], str]


def public_error(text: object) -> object:
    """An error kept as JSON, without what only administrators may read."""
    return msgspec.to_builtins(msgspec.json.decode(cast("str", text), type=ErrorRecord).public())


_ALL = Fragment("")
_CHUNK = 8_192
_SHOW: dict[Kind, Decode] = {
    Kind.TIME: cast("Decode", from_micros),
    Kind.BOOL: cast("Decode", bool),
    Kind.JSON: cast("Decode", msgspec.json.decode),
    Kind.OPAQUE: public_error,
}


class _Table(Struct, frozen=True, eq=False):
    """How rows of one table are read: the key first (or, in a list, the column that holds the parent's key)."""

    select: str  #: up to and without the list of keys
    order: str
    names: tuple[str, ...]  #: wire names of the columns behind the first
    decoders: tuple[tuple[str, Decode], ...]
    rests: tuple[tuple[str, int, Open], ...]  #: texts that go on in a sealed column: name, which column, what opens it

    def read(self, tx: Tx, keys: Sequence[SqlValue], guard: Fragment = _ALL) -> list[tuple[SqlValue, Inventory]]:
        """The rows (alias c) with these keys that `guard` lets through, each with its first column."""
        names, decoders = self.names, self.decoders
        found: list[tuple[SqlValue, Inventory]] = []
        for row in self._rows(tx, keys, guard):
            shown: Inventory = dict(zip(names, row[1 : len(names) + 1], strict=True))
            for name, decode in decoders:
                value = shown[name]
                if value is not None:
                    shown[name] = decode(value)
            for name, at, opened in self.rests:
                if row[at] is not None:
                    shown[name] = f"{shown[name]}{opened(cast('str', row[at]))}"
            found.append((row[0], shown))
        return found

    def _rows(self, tx: Tx, keys: Sequence[SqlValue], guard: Fragment) -> list[Row]:
        end = f"{guard.text}{self.order}"
        if len(keys) == 1:
            return tx.fetch(f"{self.select} = ?{end}", [*keys, *guard.values])
        rows: list[Row] = []
        for at in range(0, len(keys), _CHUNK):
            some = keys[at : at + _CHUNK]
            padded = [*some, *[some[-1]] * ((1 << (len(some) - 1).bit_length()) - len(some))]
            marks = ", ".join("?" * len(padded))
            rows += tx.fetch(f"{self.select} IN ({marks}){end}", [*padded, *guard.values])
        return rows


class InventoryReader:
    """Reads inventories of every entity. `seals` open the parts of texts that are sealed."""

    def __init__(self, catalog: Catalog, driver: Driver, seals: Seals) -> None:
        self._catalog = catalog
        self._seals = seals
        self._quote = driver.dialect.identifier_preparer.quote
        self._row_order = driver.row_order
        self._bases: dict[tuple[str, frozenset[str]], _Table] = {}
        self._extensions: dict[tuple[str, frozenset[str]], _Table] = {}
        self._children: dict[ShownList, _Table] = {}

    def read(
        self, tx: Tx, planner: Planner, entity: Entity, keys: Sequence[SqlValue], fields: Collection[str] = ()
    ) -> list[Inventory]:
        """The inventories of the rows with these keys, in their order; missing rows are left out.

        Args:
            planner: knows which rows may be shown in lists.
            fields: only these (wire names); none: all.
        """
        if not keys:
            return []
        wanted = frozenset(fields)
        base = self._base(entity)
        table = self._bases.get((base.name, wanted)) or self._make_base(base, wanted)
        found = dict(table.read(tx, keys))
        self._complete(tx, planner, base, found, wanted)
        return [found[key] for key in keys if key in found]

    def _base(self, entity: Entity) -> Entity:
        return entity if entity.parent is None else self._catalog.entities[entity.parent]

    def _complete(
        self, tx: Tx, planner: Planner, base: Entity, found: dict[SqlValue, Inventory], wanted: frozenset[str]
    ) -> None:
        """Add the extensions of the rows, and the lists; take out the column that was read only to know the type."""
        if base.subtypes:
            self._extend(tx, planner, base, found, wanted)
        for shown in base.lists.values():
            if not wanted or shown.name in wanted:
                self._add_list(tx, planner, shown, found)

    def _extend(
        self, tx: Tx, planner: Planner, base: Entity, found: dict[SqlValue, Inventory], wanted: frozenset[str]
    ) -> None:
        by_type: dict[object, list[SqlValue]] = {}
        for key, inventory in found.items():
            by_type.setdefault(inventory[str(base.subtype_field)], []).append(key)
        for value, keys in by_type.items():
            name = base.subtypes.get(str(value))
            if name is not None:
                extended = {key: found[key] for key in keys}
                self._extend_one(tx, planner, self._catalog.entities[name], extended, wanted)
        if wanted and base.subtype_field not in wanted:
            for inventory in found.values():
                inventory.pop(str(base.subtype_field), None)

    def _extend_one(
        self, tx: Tx, planner: Planner, subtype: Entity, found: dict[SqlValue, Inventory], wanted: frozenset[str]
    ) -> None:
        table = self._extensions.get((subtype.name, wanted)) or self._make_extension(subtype, wanted)
        if table.names:
            for key, more in table.read(tx, list(found)):
                found[key].update(more)
        parent = self._base(subtype)
        for shown in subtype.lists.values():
            if shown.name not in parent.lists and (not wanted or shown.name in wanted):
                self._add_list(tx, planner, shown, found)

    def _add_list(self, tx: Tx, planner: Planner, shown: ShownList, found: dict[SqlValue, Inventory]) -> None:
        lists: dict[SqlValue, list[object]] = {}
        for key, inventory in found.items():
            inventory[shown.name] = lists[key] = []
        if lists:
            self._fill(tx, planner, shown, lists)
        if shown.single:
            for key, rows in lists.items():
                found[key][shown.name] = rows[0] if rows else None

    def _fill(self, tx: Tx, planner: Planner, shown: ShownList, lists: dict[SqlValue, list[object]]) -> None:
        """Read the rows of the list of each key, in one statement."""
        table = self._children.get(shown) or self._make_child(shown)
        if shown.entity is None:
            for key, row in table.read(tx, list(lists)):
                lists[key].append(row[shown.other])
            return
        child = self._catalog.entities[shown.entity]
        rows = table.read(tx, list(lists), planner.guard(child, "c"))
        if (child.lists or child.subtypes) and rows:
            key_name = child.key.wire
            inside = {cast("SqlValue", row[key_name]): row for _, row in rows}
            self._complete(tx, planner, child, inside, frozenset())
        for key, row in rows:
            lists[key].append(row)

    def _make_base(self, base: Entity, wanted: frozenset[str]) -> _Table:
        table = base.info.meta.table
        fields = _shown(base, wanted and wanted | {base.subtype_field})
        made = self._bases[base.name, wanted] = self._table(table, base.key.name, fields, "")
        return made

    def _make_extension(self, subtype: Entity, wanted: frozenset[str]) -> _Table:
        info = subtype.info
        fields = [field for field in _shown(subtype, wanted) if not field.key]
        table = self._table(info.meta.table, info.key.name, fields, "")
        self._extensions[subtype.name, wanted] = table
        return table

    def _make_child(self, shown: ShownList) -> _Table:
        order = self._row_order or ""
        if shown.entity is None:
            info = self._catalog.schema.by_table[shown.table]
            field = msgspec.structs.replace(info.by_name[shown.other], wire=shown.other)
            table = self._table(shown.table, shown.own, [field], order)
        else:
            child = self._catalog.entities[shown.entity]
            fields = _shown(child, frozenset())
            columns = [self._quote(shown.order_by)] if shown.order_by is not None else []
            order = ", ".join([*columns, order or self._quote(child.key.name)])
            table = self._table(shown.table, shown.own, fields, order)
        self._children[shown] = table
        return table

    def _table(self, table: str, key: str, fields: Sequence[Field], order: str) -> _Table:
        quote = self._quote
        continued = [(field.wire, field.continued) for field in fields if field.continued is not None]
        names = [key, *(field.name for field in fields), *(by for _, by in continued)]
        columns = ", ".join(map(quote, names))
        select = f"SELECT {columns} FROM {quote(table)} c WHERE c.{quote(key)}"  # noqa: S608 (quoted names of the schema)
        decoders = tuple((field.wire, _SHOW[field.kind]) for field in fields if field.kind in _SHOW)
        first = len(fields) + 1
        rests = tuple(
            (wire, first + at, partial(self._seals.open_text, column=f"{table}.{by}"))
            for at, (wire, by) in enumerate(continued)
        )
        ordered = f" ORDER BY {order}" if order else ""
        return _Table(select, ordered, tuple(field.wire for field in fields), decoders, rests)


def _shown(entity: Entity, wanted: Collection[str | None]) -> list[Field]:
    """The fields that the entity's own record has and its catalog shows, of those that are wanted (none: all)."""
    return [
        entity.columns[field.wire].field
        for field in entity.info.fields
        if field.wire in entity.columns and (not wanted or field.wire in wanted)
    ]
