"""The catalog of queries: entities, their fields, and the ways from one to the other, worked out from the records.

A way is a chain of hops. One hop goes from a column of the table where we are to a column of the next table: along a
reference or back, into a link table and out of it, or from a parent record to the record that extends it. So every
dotted path, to any depth, is a list of hops and a column at its end, and nothing else is needed to make SQL of it.

Every entity says who may see it: a field marked `Owner`, or `owned_by`, or `visible`. The rows of a subtype are its parent's: it
says nothing if accounts own these, else whether its own fields are for everyone. The catalog for accounts is made in
`cairn.kernel.query.accounts`.
"""

from __future__ import annotations

from msgspec import Struct

from cairn.kernel.store.record import Field, Nested, RecordInfo, SubType, Uuids, Visible, mistake
from cairn.kernel.store.schema import Schema


class Hop(Struct, frozen=True, kw_only=True):
    """From column `own` of the table where we are to the rows of `table` whose column `other` has the same value."""

    table: str
    own: str
    other: str
    entity: str | None = None  #: the entity reached, whose owner and type are to be looked at; None for tables between
    sure: bool = False  #: an enforced reference: where `own` is not null there is exactly one such row


class Join(Struct, frozen=True, kw_only=True):
    """A way to another entity, with the name that queries use."""

    name: str
    target: str
    many: bool
    hops: tuple[Hop, ...]


class Column(Struct, frozen=True, kw_only=True):
    """Something that a condition can compare.

    `hops` lead to it from the entity's own table (none if it is there). A `set` (tags, lists of uuids) has any number
    of values for one resource: "not equal" means that none is equal.
    """

    name: str
    field: Field
    column: str
    hops: tuple[Hop, ...] = ()
    set: bool = False


class ShownList(Struct, frozen=True, kw_only=True):
    """A list shown in the inventory: children (`entity`), or bare values of column `other` of table `table`. `single`: there is
    one child at most, which is shown itself, or null."""

    name: str
    table: str
    own: str  #: the column that holds our key
    other: str = ""
    entity: str | None = None
    order_by: str | None = None
    single: bool = False


class Entity(Struct, kw_only=True, eq=False):
    """A kind of resource that can be queried. Fixed once the catalog is built."""

    name: str
    info: RecordInfo  #: its declaration; for a subtype, the record that extends the parent
    base: RecordInfo  #: whose table has its rows
    columns: dict[str, Column]
    joins: dict[str, Join]
    lists: dict[str, ShownList]
    parent: str | None = None
    type_column: str | None = None  #: of a subtype: the parent's column that tells the type…
    type_value: str = ""  #: …and its value there
    subtypes: dict[str, str]  #: by the type column's value
    subtype_field: str | None = None  #: of a parent: the field that tells the type
    owner: str | None = None  #: the column with the owning account
    owned_by: Hop | None = None  #: the hop to the row that it belongs to

    @property
    def key(self) -> Field:
        """The field that is the table's key."""
        return self.base.key

    @property
    def owned(self) -> bool:
        """Whether each row belongs to an account, which sees no others."""
        return self.owner is not None or self.owned_by is not None

    @property
    def admin_only(self) -> bool:
        """Whether only administrators see it."""
        return self.info.meta.visible is Visible.ADMIN


class TagTables(Struct, frozen=True, kw_only=True):
    """The two tables of tags, with these columns, indexed by resource."""

    system: str = "system_tag"
    user: str = "user_tag"
    resource: str = "resource_uuid"
    tag: str = "tag"
    pattern: str | None = None  #: the column of `user` with the tag pattern's uuid, if there is one
    sealed: tuple[str, ...] = ()  #: the beginnings of tags that are sealed from there on, ``userdata::``


class Catalog:
    """All entities of a schema.

    Raises:
        CairnError: ``store.bad-record``: a declaration cannot work; the sentence names the class.
    """

    def __init__(self, schema: Schema, tags: TagTables | None) -> None:
        self.schema = schema
        self.entities: dict[str, Entity] = {}
        #: the beginnings of texts whose rest is sealed
        self.sealed = tags.sealed if tags is not None else ()
        self._tags = tags
        self._known = {name.lower(): name for name in schema.by_entity}
        for here in schema.by_entity.values():
            self._add_entity(here)
        for here in schema.by_entity.values():
            self._add_references(here)
        for here in schema.by_entity.values():
            self._add_declared(here)
        for here in schema.by_entity.values():
            self._inherit(self._entity(here))
        for entity in self.entities.values():
            self._check_nesting(entity, (entity.name,))
            self._check_owner(entity, (entity.name,))
            self._check_visible(entity)

    def find(self, name: str) -> Entity | None:
        """The entity of this name; upper and lower case are the same."""
        return self.entities.get(self._known.get(name.lower(), ""))

    def shown(self, entity: Entity) -> dict[str, ShownList | None]:
        """The fields and lists that its inventories may have, by name, those of its subtypes included; None for a field."""
        known: dict[str, ShownList | None] = {}
        for one in (entity, *(self.entities[name] for name in entity.subtypes.values())):
            known |= dict.fromkeys(name for name, column in one.columns.items() if not column.set)
            known |= one.lists
        return known

    def _entity(self, here: RecordInfo) -> Entity:
        return self.entities[str(here.meta.entity)]

    def _add_entity(self, here: RecordInfo) -> None:
        base = self._base(here)
        name = str(here.meta.entity)
        columns = {
            f.wire: Column(name=f.wire, field=f, column=f.name, hops=self._to_own(here, f))
            for f in here.fields
            if not f.hidden
        }
        entity = Entity(name=name, info=here, base=base, columns=columns, joins={}, lists={}, subtypes={})
        self.entities[name] = entity
        entity.owner = here.owner.name if here.owner is not None else None
        if self._tags is not None:
            columns.update(self._tag_columns(here, self._tags))

    def _base(self, here: RecordInfo) -> RecordInfo:
        if here.meta.extends is None:
            return here
        parent = self.schema.resolve(here.record, here.meta.extends.parent)
        if parent.meta.entity is None or parent.meta.extends is not None:
            raise mistake(here.record, f"it extends {parent.record.__qualname__}, which is not an entity.")
        if here.meta.extends.column not in parent.by_name:
            raise mistake(here.record, f"its type column {here.meta.extends.column!r} is not a field of its parent.")
        return parent

    def _to_own(self, here: RecordInfo, field: Field | None) -> tuple[Hop, ...]:
        """From the entity's base table to the table that has the field."""
        if here.meta.extends is None or (field is not None and field.key):
            return ()
        parent = self._base(here)
        return (Hop(table=here.meta.table, own=parent.key.name, other=here.key.name),)

    def _tag_columns(self, here: RecordInfo, tags: TagTables) -> dict[str, Column]:
        tables = {"__systemTag__": (tags.system, tags.tag), "__userTag__": (tags.user, tags.tag)}
        if tags.pattern is not None:
            tables["__tagUuid__"] = (tags.user, tags.pattern)
        found: dict[str, Column] = {}
        for name, (table, column) in tables.items():
            info = self.schema.by_table.get(table)
            if info is None or column not in info.by_name or tags.resource not in info.by_name:
                raise mistake(here.record, f"tags want a table {table!r} with {tags.resource!r} and {column!r}.")
            hop = Hop(table=table, own=self._base(here).key.name, other=tags.resource, entity=info.meta.entity)
            found[name] = Column(name=name, field=info.by_name[column], column=column, hops=(hop,), set=True)
        return found

    def _add_references(self, here: RecordInfo) -> None:
        for field in here.fields:
            if field.reference is None or field.hidden:
                continue
            target = self.schema.target(here.record, field.reference)
            if target.meta.entity is None:
                continue
            there = self._base(target)
            if field.reference.join is not None:
                hop = Hop(
                    table=there.meta.table, own=field.name, other=there.key.name, entity=target.meta.entity, sure=True
                )
                self._join(here, here, field.reference.join, str(target.meta.entity), False, hop)
            if field.reference.back is not None:
                self._join_back(here, field, target)
            elif field.reference.shown:
                raise mistake(here.record, f"{field.name!r} is to be shown, and has no name there: say `back`.")

    def _join_back(self, here: RecordInfo, field: Field, target: RecordInfo) -> None:
        back = str(field.reference.back if field.reference else "")
        base, own = self._base(here), self._base(target).key.name
        hops = [Hop(table=here.meta.table, own=own, other=field.name, entity=here.meta.entity)]
        if base is not here:
            hops = [
                Hop(table=here.meta.table, own=own, other=field.name),
                Hop(table=base.meta.table, own=here.key.name, other=base.key.name, entity=here.meta.entity),
            ]
        self._put_join(
            here, target, Join(name=back, target=str(here.meta.entity), many=not field.unique, hops=tuple(hops))
        )
        if field.reference is not None and field.reference.shown:
            self._show_back(here, field, target, back)

    def _show_back(self, here: RecordInfo, field: Field, target: RecordInfo, back: str) -> None:
        """Show the rows that point to a target in the target's inventory."""
        if here.meta.extends is not None:
            raise mistake(here.record, f"{back!r} cannot be shown in {target.meta.entity}: it is a subtype's.")
        order = "create_date" if "create_date" in here.by_name else None
        self._entity(target).lists[back] = ShownList(
            name=back,
            table=here.meta.table,
            own=field.name,
            entity=here.meta.entity,
            order_by=order,
            single=field.unique,
        )

    def _join(self, by: RecordInfo, at: RecordInfo, name: str, target: str, many: bool, *hops: Hop) -> None:
        self._put_join(by, at, Join(name=name, target=target, many=many, hops=(*self._to_own(at, None), *hops)))

    def _put_join(self, by: RecordInfo, at: RecordInfo, join: Join) -> None:
        entity = self._entity(at)
        taken = entity.joins.get(join.name)
        if (taken is not None and taken != join) or join.name in entity.columns:
            raise mistake(by.record, f"the name {join.name!r} is taken in {entity.name} by a field or another join.")
        entity.joins[join.name] = join

    def _add_declared(self, here: RecordInfo) -> None:
        """Lists, joins through link tables, the subtype's place in its parent."""
        entity = self._entity(here)
        for name, shown in here.meta.nested.items():
            if isinstance(shown, Uuids):
                self._add_uuids(here, entity, name, shown)
            else:
                self._add_nested(here, entity, name, shown)
        for name, via in here.meta.via.items():
            target = self._target(here, via.target)
            base = self._base(target)
            link = self._link(here, via.link, via.own, via.other)
            into = Hop(table=via.link, own=self._base(here).key.name, other=via.own, entity=link.meta.entity)
            out = Hop(table=base.meta.table, own=via.other, other=base.key.name, entity=via.target)
            self._put_join(here, here, Join(name=name, target=via.target, many=True, hops=(into, out)))
        if here.meta.owned_by is not None:
            entity.owned_by = self._owned_by(here, here.meta.owned_by)
        if here.meta.extends is not None:
            self._add_subtype(here, entity, here.meta.extends)

    def _target(self, here: RecordInfo, name: str) -> RecordInfo:
        found = self.schema.by_entity.get(name)
        if found is None:
            raise mistake(here.record, f"it names entity {name!r}, which this schema does not have.")
        return found

    def _link(self, here: RecordInfo, link: str, own: str, other: str) -> RecordInfo:
        table = self.schema.by_table.get(link)
        if table is None or own not in table.by_name or other not in table.by_name:
            raise mistake(here.record, f"it wants a table {link!r} with columns {own!r} and {other!r}.")
        return table

    def _add_uuids(self, here: RecordInfo, entity: Entity, name: str, shown: Uuids) -> None:
        table = self._link(here, shown.link, shown.own, shown.other)
        hop = Hop(table=shown.link, own=self._base(here).key.name, other=shown.own, entity=table.meta.entity)
        entity.columns[name] = Column(
            name=name, field=table.by_name[shown.other], column=shown.other, hops=(hop,), set=True
        )
        entity.lists[name] = ShownList(name=name, table=shown.link, own=shown.own, other=shown.other)

    def _add_nested(self, here: RecordInfo, entity: Entity, name: str, shown: Nested | str) -> None:
        if isinstance(shown, str):
            child_name, _, by = shown.partition(".")
            shown = Nested(entity=child_name, by=by)
        child = self._target(here, shown.entity)
        if child.meta.extends is not None:
            raise mistake(here.record, f"nested {name!r}: {shown.entity} is a subtype; name its parent.")
        if shown.by not in child.by_name or (shown.order_by is not None and shown.order_by not in child.by_name):
            raise mistake(
                here.record, f"nested {name!r}: {shown.entity} has no field {shown.by!r} or {shown.order_by!r}."
            )
        entity.lists[name] = ShownList(
            name=name, table=child.meta.table, own=shown.by, entity=shown.entity, order_by=shown.order_by
        )
        hop = Hop(table=child.meta.table, own=self._base(here).key.name, other=shown.by, entity=shown.entity)
        known = entity.joins.get(name)
        if known is None or known.hops != (hop,):
            self._put_join(here, here, Join(name=name, target=shown.entity, many=True, hops=(hop,)))

    def _owned_by(self, here: RecordInfo, name: str) -> Hop:
        field = here.by_name.get(name)
        if field is None or field.reference is None:
            raise mistake(here.record, f"owned_by names {name!r}, which is not a field with References().")
        target = self.schema.target(here.record, field.reference)
        if target.meta.entity is None:
            raise mistake(here.record, f"owned_by leads to {target.record.__qualname__}, which is not an entity.")
        base = self._base(target)
        return Hop(table=base.meta.table, own=field.name, other=base.key.name, entity=target.meta.entity, sure=True)

    def _add_subtype(self, here: RecordInfo, entity: Entity, extends: SubType) -> None:
        parent = self._entity(entity.base)
        field = entity.base.by_name[extends.column]
        if parent.subtype_field not in (None, field.wire) or extends.value in parent.subtypes:
            raise mistake(
                here.record, f"another subtype of {parent.name} has {extends.column}={extends.value!r} already."
            )
        parent.subtype_field = field.wire
        parent.subtypes[extends.value] = entity.name
        entity.parent, entity.type_column, entity.type_value = parent.name, extends.column, extends.value

    def _inherit(self, entity: Entity) -> None:
        """A subtype has all that its parent has."""
        if entity.parent is None:
            return
        parent = self.entities[entity.parent]
        own, entity.columns = entity.columns, dict(parent.columns)
        entity.columns.update((name, column) for name, column in own.items() if not column.field.key)
        entity.joins = {**parent.joins, **entity.joins}
        entity.lists = {**parent.lists, **entity.lists}
        entity.owner, entity.owned_by = parent.owner, parent.owned_by

    def _check_nesting(self, entity: Entity, seen: tuple[str, ...]) -> None:
        for shown in entity.lists.values():
            if shown.entity is None:
                continue
            if shown.entity in seen:
                raise mistake(
                    entity.info.record, f"its inventory would contain itself: {' > '.join((*seen, shown.entity))}."
                )
            self._check_nesting(self.entities[shown.entity], (*seen, shown.entity))

    def _check_owner(self, entity: Entity, seen: tuple[str, ...]) -> None:
        if entity.owned_by is None or entity.owned_by.entity is None:
            return
        if entity.owned_by.entity in seen:
            raise mistake(entity.info.record, f"owned_by goes in a circle: {' > '.join(seen)}.")
        target = self.entities[entity.owned_by.entity]
        if not target.owned:
            raise mistake(
                entity.info.record, f"owned_by leads to {target.name}, which no account owns; say visible=..."
            )
        self._check_owner(target, (*seen, target.name))

    def _check_visible(self, entity: Entity) -> None:
        here = entity.info
        answers = [answer for answer in (here.owner, here.meta.owned_by, here.meta.visible) if answer is not None]
        if entity.parent is not None and (here.owner is not None or here.meta.owned_by is not None):
            raise mistake(here.record, f"its rows are those of {entity.parent}, which says whose they are.")
        if len(answers) > 1 or not (answers or (entity.parent is not None and entity.owned)):
            raise mistake(
                here.record,
                f"it says {len(answers)} times who may see a {entity.name}; say it once: a field marked Owner(), or "
                "owned_by=..., or visible=Visible.PUBLIC (every account) or Visible.ADMIN (administrators).",
            )
