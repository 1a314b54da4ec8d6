"""The catalog for accounts: without the entities and fields that only administrators see.

For an account these do not exist, wherever a name may stand: conditions, joins along them,
sorting, lists inside inventories, a subtype's own fields. So code that answers queries never looks at who is asking.

An error has a part for administrators. Accounts see it without that part, and nothing can be compared with it but null:
a pattern would find out what they do not see.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import cast

import msgspec
from msgspec.structs import replace

from cairn.kernel.error import ErrorRecord
from cairn.kernel.query.catalog import Catalog, Column, Entity, Hop, ShownList
from cairn.kernel.query.inventory import Inventory, public_error
from cairn.kernel.store.record import Kind, Visible


def for_accounts(everything: Catalog) -> Catalog:
    """`everything`, without the parts that are for administrators."""
    seen = _Seen(everything)
    narrowed = copy(everything)
    narrowed.entities = {name: seen.part_of(everything.entities[name]) for name in seen.entities}
    return narrowed


def narrowed(catalog: Catalog, entity: Entity, inventory: Inventory) -> Inventory:
    """The part of an inventory of `entity` whose fields `catalog` has."""
    found: Inventory = {}
    for name, shown in catalog.shown(entity).items():
        if name not in inventory:
            continue
        found[name] = inventory[name]
        column = entity.columns.get(name)
        if column is not None and column.field.kind is Kind.OPAQUE and found[name] is not None:
            found[name] = public_error(msgspec.json.encode(found[name]))
        if shown is not None and shown.entity is not None:
            child = catalog.entities[shown.entity]
            found[name] = [narrowed(catalog, child, one) for one in cast("list[Inventory]", inventory[name])]
    return found


def _readable(column: Column) -> Column:
    field = column.field
    return replace(column, field=replace(field, kind=Kind.OPAQUE)) if field.type is ErrorRecord else column


class _Seen:
    """The part of a catalog that accounts see."""

    def __init__(self, everything: Catalog) -> None:
        self._schema = everything.schema
        self._all = everything.entities
        self.entities = [name for name, entity in self._all.items() if self._is_seen(entity)]

    def part_of(self, entity: Entity) -> Entity:
        """The entity with those fields, lists and joins that accounts see."""
        lists = {name: shown for name, shown in entity.lists.items() if self._has_list(shown)}
        columns = {
            name: _readable(column)
            for name, column in entity.columns.items()
            if self._has_column(entity, column) and (name in lists or name not in entity.lists)
        }
        table = entity.base.meta.table
        joins = {name: join for name, join in entity.joins.items() if self._leads(table, join.hops)}
        subtypes = {value: name for value, name in entity.subtypes.items() if name in self.entities}
        if entity.subtype_field not in columns:
            subtypes = {}
        return replace(
            entity,
            columns=columns,
            joins=joins,
            lists=lists,
            subtypes=subtypes,
            subtype_field=entity.subtype_field if subtypes else None,
        )

    def _is_seen(self, entity: Entity) -> bool:
        parent = None if entity.parent is None else self._all[entity.parent]
        return not entity.admin_only and (parent is None or not parent.admin_only)

    def _has_column(self, entity: Entity, column: Column) -> bool:
        return not column.field.admin_only and self._leads(entity.base.meta.table, column.hops)

    def _leads(self, table: str, hops: Sequence[Hop]) -> bool:
        """Whether accounts may go this way: no entity and no field on it is for administrators."""
        for hop in hops:
            if not (self._has_field(table, hop.own) and self._has_field(hop.table, hop.other)):
                return False
            if hop.entity is not None and hop.entity not in self.entities:
                return False
            table = hop.table
        return True

    def _has_field(self, table: str, name: str) -> bool:
        here = self._schema.by_table[table]
        return here.meta.visible is not Visible.ADMIN and not here.by_name[name].admin_only

    def _has_list(self, shown: ShownList) -> bool:
        if not self._has_field(shown.table, shown.own):
            return False
        if shown.entity is not None:
            return shown.entity in self.entities
        return self._has_field(shown.table, shown.other) and self._is_public(shown)

    def _is_public(self, shown: ShownList) -> bool:
        """Bare uuids are shown without a look at the rows that they name, so accounts must be free to see all of these."""
        link = self._schema.by_table[shown.table]
        reference = link.by_name[shown.other].reference
        target = None if reference is None else self._schema.target(link.record, reference).meta.entity
        named = [name for name in (link.meta.entity, target) if name is not None]
        return all(name in self.entities and not self._all[name].owned for name in named)
