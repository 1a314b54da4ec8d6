"""SQL for a query: bound parameters, work that is bounded by the size of tables, and a choice of where to begin.

A condition behind hops is an EXISTS over the next tables. That is fast when many rows fit (a page is full after few
rows), and slow when few do (every row is tried). So before such a query the planner probes: it goes the other way,
from the condition's end to the entity, with at most `RARE` rows at each hop. If it gets to the entity, these rows are
few, and the query begins with them; else it begins with the entity, in the order asked for.

A path that gathers (many VMs, one zone) and then spreads (that zone, its many VMs) would be walked again from each
row, and once more at each such turn: rows times rows times rows. There the walk is cut: the rows of the gathering
table that fit what follows are found once, as a set, and a row only looks whether it leads into that set. So each table of a
path is gone through once at most.

What begins with the entity is tried for so many steps of the database only (`PATIENCE`): where those which fit come last, or two
conditions that many rows fit have no row in common, it would go through all of them. Then, and for counts, the statement is made
`whole`, with sets: a path on which each row leads to one other at most becomes a plain join, any other one the keys to which it
leads back, and the database chooses by its statistics where to begin. That costs the rows which fit, and not the table.

A page goes on behind a row (`Mark`) by that row's place in the order, not by counting from the first one: a page costs the same
wherever it is.

Ownership is part of every hop that reaches an entity, and of every list that is shown inside an inventory. The texts are SQL that
all databases take, but for the hints of `_Dialect`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from cairn.kernel.query.catalog import Catalog, Column, Entity, Hop
from cairn.kernel.query.condition import LISTS, NULL_TESTS, PATTERNS, Operator
from cairn.kernel.query.resolve import Comparison, is_indexed
from cairn.kernel.store.driver import Driver
from cairn.kernel.store.record import SqlValue

RARE = 5_000
#: what sorts by nothing else
Sort = tuple[Column, bool]
#: steps of the database's machine for a try that begins with the entity: some thousand rows of it
PATIENCE = 50_000


class Fragment(Struct, frozen=True):
    """A piece of SQL and the values of its question marks, in order."""

    text: str
    values: tuple[SqlValue, ...] = ()


class Scope(Struct, frozen=True):
    """The account that asks, or (None) an admin, who sees all."""

    owner: str | None = None


class Shares(Struct, frozen=True, kw_only=True):
    """The table that tells which resource is shared: with an account, or (`public` is 1) with all."""

    table: str
    resource: str = "resource_uuid"
    account: str = "account_uuid"
    public: str = "to_public"


class Mark(Struct, frozen=True):
    """A row's place in the order of a query: the value that it is sorted by (None without a sort, too), and what tells it from
    others with the same value."""

    value: SqlValue
    tie: SqlValue


class _Dialect(Struct, frozen=True, kw_only=True):
    """The hints of a database."""

    materialized: str  #: of a set in WITH: it is made once
    in_order: str  #: joins two tables: the left one is gone through first
    unled: str  #: before a column: no index of it may lead

    @classmethod
    def of(cls, name: str) -> _Dialect:
        """The hints of the database of this name; another's are MySQL's."""
        if name == "sqlite":
            return cls(materialized="AS MATERIALIZED", in_order="CROSS JOIN", unled="+")
        return cls(materialized="AS", in_order="STRAIGHT_JOIN", unled="")


class _Path(Struct, frozen=True):
    """The way of one comparison, from a table."""

    table: str
    hops: tuple[Hop, ...]
    comparison: Comparison


class _Sets:
    """The sets that a statement begins with."""

    def __init__(self, dialect: _Dialect, *, whole: bool) -> None:
        self.made: list[Fragment] = []
        self.whole = whole  #: nothing leads, so the database may begin at the other end of a path
        self._dialect = dialect

    def add(self, query: Fragment) -> str:
        """Have the rows of `query` as a set, with the column k; returns its name."""
        name = f"w{len(self.made) + 1}"
        self.made.append(Fragment(f"{name}(k) {self._dialect.materialized} ({query.text})", query.values))
        return name


class Planner:
    """Makes SQL for one query."""

    def __init__(self, catalog: Catalog, driver: Driver, scope: Scope, shares: Shares | None) -> None:
        self._catalog = catalog
        self._driver = driver
        self._dialect = _Dialect.of(driver.dialect.name)
        self._quote = driver.dialect.identifier_preparer.quote
        self._scope = scope
        self._shares = shares
        self._aliases = 0

    def page(
        self,
        entity: Entity,
        comparisons: Sequence[Comparison],
        rare: Comparison | None,
        sort: Sort | None,
        limit: int,
        start: int,
        *,
        whole: bool = True,
        behind: Fragment | None = None,
    ) -> Fragment:
        """The rows asked for, in order: of each the key, what tells it from others in the order, and the value sorted by.

        Args:
            sort: the column, and whether descending.
            whole: all rows that fit are found before they are sorted, see above.
            behind: a part of `behind`.
        """
        walk = None if whole or rare is not None else _walked(sort)
        sets = _Sets(self._dialect, whole=rare is None) if whole else None
        body = self._body(entity, comparisons, rare, sets, walk, behind)
        down = " DESC" if sort is not None and sort[1] else ""
        columns = [self._tie(entity)] if sort is None else [self._sorted_by(sort), self._tie(entity)]
        unled = self._dialect.unled if whole and rare is None and comparisons else ""
        order = ", ".join(f"{unled}{column}{down}" for column in columns)
        end = f"{body.text} ORDER BY {order} LIMIT ? OFFSET ?"
        key, values = f"a.{self._quote(entity.key.name)}", (*body.values, limit, start)
        if not whole or self._driver.row_order is None:
            text = f"SELECT {key}, {self._tie(entity)}, {self._sorted_by(sort)}{end}"
        else:
            # Of the rows that fit, only those of the page are looked at themselves: indices have what comes before.
            inner = f"SELECT {self._tie(entity)} AS t, {self._sorted_by(sort)} AS v{end}"
            table = f"{self._quote(entity.base.meta.table)} a"
            outer = ", ".join(f"d.{name}{down}" for name in ("v", "t")[2 - len(columns) :])
            joined = f"({inner}) d {self._dialect.in_order} {table} ON {self._tie(entity)} = d.t"
            text = f"SELECT {key}, d.t, d.v FROM {joined} ORDER BY {outer}"  # noqa: S608 (names of the schema)
        return _headed(sets, Fragment(text, values))

    def behind(self, entity: Entity, sort: Sort | None, mark: Mark) -> list[Fragment]:
        """The conditions, one after the other, of the rows behind `mark`: those with the same value, then those with others.
        Each is one stretch of an index."""
        tie = self._tie(entity)
        if sort is None:
            return [Fragment(f"{tie} > ?", (mark.tie,))]
        column, down = sort
        value, further = self._sorted_by(sort), "<" if down else ">"
        if mark.value is None:
            same = Fragment(f"{value} IS NULL AND {tie} {further} ?", (mark.tie,))
            return [same] if down else [same, Fragment(f"{value} IS NOT NULL")]
        found = [
            Fragment(f"{value} = ? AND {tie} {further} ?", (mark.value, mark.tie)),
            Fragment(f"{value} {further} ?", (mark.value,)),
        ]
        nullable = column.field.nullable or column.hops
        return [*found, Fragment(f"{value} IS NULL")] if down and nullable else found

    def count(
        self, entity: Entity, comparisons: Sequence[Comparison], rare: Comparison | None, most: int | None = None
    ) -> Fragment:
        """The statement that counts the rows which fit; no further than to `most`."""
        sets = _Sets(self._dialect, whole=rare is None)
        body = self._body(entity, comparisons, rare, sets)
        if most is None:
            return _headed(sets, Fragment(f"SELECT count(*){body.text}", body.values))
        text = f"SELECT count(*) FROM (SELECT 1{body.text} LIMIT ?) x"  # noqa: S608 (names of the schema)
        return _headed(sets, Fragment(text, (*body.values, most)))

    def probe(self, entity: Entity, comparison: Comparison) -> Fragment:
        """One row if more than `RARE` rows, of the entity or at a hop on the way to it, fit this one condition; else none. Those
        that may not be seen count as well: they would be gone through, too."""
        levels, names = self._from_the_end(entity, comparison, guarded=False)
        many = " OR ".join(f"(SELECT count(*) FROM {name}) > ?" for name in names)  # noqa: S608 (names of our own)
        text = f"{levels.text} SELECT 1 FROM (SELECT 1 AS one) x WHERE {many}"  # noqa: S608 (names of our own)
        return Fragment(text, (*levels.values, *[RARE] * len(names)))

    def is_straight(self, entity: Entity, comparisons: Sequence[Comparison], sort: Sort | None) -> bool:
        """Whether there is but one way to find a page: no paths, and no index to walk past what does not fit."""
        owner = self._scope.owner is not None
        if any(one.hops for one in comparisons) or (owner and entity.owned_by is not None):
            return False
        return _walked(sort) is None or not (comparisons or owner)

    def owning(self, entity: Entity) -> Comparison | None:
        """The condition that limits an account to what is its own, where an index leads from the account to that."""
        hops: list[Hop] = []
        while entity.owned_by is not None and entity.owned_by.entity is not None:
            hops.append(entity.owned_by)
            entity = self._catalog.entities[entity.owned_by.entity]
        owner = self._scope.owner
        if owner is None or entity.owner is None or self._shares is not None:
            return None
        indexed = is_indexed(entity.base.by_name[entity.owner])
        return Comparison(
            hops=tuple(hops), column=entity.owner, operator=Operator.EQUAL, values=(owner,), indexed=indexed
        )

    def can_lead(self, comparison: Comparison) -> bool:
        """Whether a query could begin with the rows that fit this condition."""
        if not comparison.hops:
            return comparison.indexed and comparison.operator in (Operator.EQUAL, Operator.IN)
        return not comparison.none_of and comparison.operator not in (
            Operator.NOT_EQUAL,
            Operator.NOT_IN,
            Operator.NOT_LIKE,
            Operator.NOT_NULL,
        )

    def guard(self, entity: Entity, alias: str) -> Fragment:
        """The condition that limits the rows of an entity to those that may be seen; starts with AND, or is empty. No index of it
        leads: the rows are known by their keys."""
        guards = self._guard(entity, alias, self._dialect.unled)
        limits = self._all(guards)
        return Fragment(f" AND {limits.text}", limits.values) if guards else Fragment("")

    def _body(
        self,
        entity: Entity,
        comparisons: Sequence[Comparison],
        rare: Comparison | None,
        sets: _Sets | None,
        walk: str | None = None,
        behind: Fragment | None = None,
    ) -> Fragment:
        """`sets`: the statement is made whole, with these. `walk`: the column whose index gives the order asked for. As many rows
        fit each condition, a page is full after few of them, so no condition on another column may pull the database to that
        one's index and so to sorting all its rows."""
        name = entity.base.meta.table
        owning = self.owning(entity)
        mine = owning is not None and bool(owning.hops) and sets is not None and sets.whole
        if owning is not None and mine:
            comparisons = [owning, *comparisons]
        finer = owning is not None or any(one.hops or (one.indexed and not one.coarse) for one in comparisons)
        table = self._quote(name)
        joins: list[str] = []
        fits = [behind] if behind is not None else []
        for one in comparisons:
            if one is rare:
                continue
            path = _Path(name, self._shortened(one), one)
            if sets is not None and sets.whole and path.hops and self._leads_to_one(path):
                fits += self._joined(path, joins)
                continue
            found = self._along(path, 0, "a", sets)
            apart = not one.hops and ((walk is not None and one.column != walk) or (finer and one.coarse))
            fits.append(Fragment(f"{self._dialect.unled}{found.text}", found.values) if apart else found)
        where = _where([*(self._kind(entity, "a") if mine else self._guard(entity, "a")), *fits])
        if rare is None:
            return Fragment(f" FROM {table} a{''.join(joins)}{where.text}", where.values)
        row = self._driver.row_order or self._quote(entity.key.name)
        levels, names = self._from_the_end(entity, rare)
        leading = f"{levels.text} SELECT DISTINCT k FROM {names[-1]}"  # noqa: S608 (names of our own)
        text = f" FROM ({leading}) d {self._dialect.in_order} {table} a ON a.{row} = d.k"
        return Fragment(f"{text}{where.text}", (*levels.values, *where.values))

    def _leads_to_one(self, path: _Path) -> bool:
        """Whether each row leads to one other at most, at every hop."""
        return not path.comparison.none_of and all(self._is_sole(hop.table, hop.other) for hop in path.hops)

    def _joined(self, path: _Path, joins: list[str]) -> list[Fragment]:
        """The conditions on the tables of a path, which are added to `joins`."""
        alias, found = "a", list[Fragment]()
        for hop in path.hops:
            child = self._alias()
            joins.append(
                f" JOIN {self._quote(hop.table)} {child} "
                f"ON {child}.{self._quote(hop.other)} = {alias}.{self._quote(hop.own)}"
            )
            found += self._guard_hop(hop, child)
            alias = child
        return [*found, self._along(path, len(path.hops), alias, None)]

    def _from_the_end(
        self, entity: Entity, comparison: Comparison, *, guarded: bool = True
    ) -> tuple[Fragment, list[str]]:
        """Sets that go from the condition's end to the entity: the WITH clause, and the sets' names in their order.

        Each has the values that lead to the next, the last one the entity's rows. None has more than `RARE` + 1: with as
        many it is not whole, and nothing may be concluded from those behind it.
        """
        quote, hops = self._quote, comparison.hops
        row = self._driver.row_order or quote(entity.key.name)
        tables = [entity.base.meta.table, *(hop.table for hop in hops)]
        made: list[Fragment] = []
        for at in range(len(hops), -1, -1):
            alias = self._alias()
            shown = quote(hops[at - 1].other) if at else row
            guards = self._guard_hop(hops[at - 1], alias) if at and guarded else []
            source = f"{quote(tables[at])} {alias}"
            if at == len(hops):
                guards = [self._leaf(comparison, alias), *guards]
            else:
                before = f"(SELECT DISTINCT k FROM s{len(made)}) d"  # noqa: S608 (names of our own)
                source = f"{before} {self._dialect.in_order} {source} ON {alias}.{quote(hops[at].own)} = d.k"
            where = self._all(guards)
            text = f"SELECT {alias}.{shown} FROM {source} WHERE {where.text} LIMIT {RARE + 1}"  # noqa: S608
            made.append(Fragment(f"s{len(made) + 1}(k) {self._dialect.materialized} ({text})", where.values))
        values = tuple(value for one in made for value in one.values)
        names = [f"s{number}" for number in range(1, len(made) + 1)]
        return Fragment(f"WITH {', '.join(one.text for one in made)}", values), names

    def _along(self, path: _Path, at: int, alias: str, sets: _Sets | None) -> Fragment:
        """The condition that, from the row `alias`, the rest of the path leads to a row where the comparison holds."""
        hops, comparison = path.hops, path.comparison
        if at == len(hops):
            column = comparison.column if at == len(comparison.hops) else comparison.hops[-1].own
            return self._leaf(comparison, alias, column)
        if sets is not None and self._gathers(path, at):
            return self._in_set(path, at, alias, sets)
        if sets is not None and sets.whole and at == 0 and not comparison.none_of:
            return self._among(path, alias, sets)
        return self._exists(path, at, alias, sets)

    def _among(self, path: _Path, alias: str, sets: _Sets) -> Fragment:
        """The condition that the row's key is one of those to which the path leads back; the database chooses where to begin."""
        joins: list[str] = []
        conditions: list[Fragment] = []
        first, at, child = path.hops[0], 0, alias
        while at < len(path.hops) and (at == 0 or not self._gathers(path, at)):
            hop, before, child = path.hops[at], child, self._alias()
            table = f"{self._quote(hop.table)} {child}"
            on = f"{child}.{self._quote(hop.other)} = {before}.{self._quote(hop.own)}"
            joins.append(f" JOIN {table} ON {on}" if at else f" FROM {table}")
            conditions += self._guard_hop(hop, child)
            at += 1
            if at == 1:
                start = child
        where = _where([*conditions, self._along(path, at, child, sets)])
        text = f"SELECT {start}.{self._quote(first.other)}{''.join(joins)}{where.text}"
        return Fragment(f"{alias}.{self._quote(first.own)} IN ({text})", where.values)

    def _exists(self, path: _Path, at: int, alias: str, sets: _Sets | None) -> Fragment:
        """The condition that there is such a row, looked for from this one."""
        hops, comparison = path.hops, path.comparison
        tables: list[str] = []
        conditions: list[Fragment] = []
        negated = False
        while at < len(hops):
            negated = comparison.none_of and at == len(hops) - 1
            if tables and (negated or (sets is not None and self._gathers(path, at))):
                negated = False
                break
            hop, child = hops[at], self._alias()
            tables.append(f"{self._quote(hop.table)} {child}")
            conditions.append(Fragment(f"{child}.{self._quote(hop.other)} = {alias}.{self._quote(hop.own)}"))
            conditions += self._guard_hop(hop, child)
            at, alias = at + 1, child
        where = self._all([*conditions, self._along(path, at, alias, sets)])
        text = f"EXISTS (SELECT 1 FROM {f' {self._dialect.in_order} '.join(tables)} WHERE {where.text})"  # noqa: S608
        return Fragment(f"NOT {text}" if negated else text, where.values)

    def _in_set(self, path: _Path, at: int, alias: str, sets: _Sets) -> Fragment:
        """The condition that the row leads into the set of those that fit the rest of the path; no index may begin with it."""
        hop, child = path.hops[at], self._alias()
        where = self._all([*self._guard_hop(hop, child), self._along(path, at + 1, child, sets)])
        key, table = self._quote(hop.other), self._quote(hop.table)
        name = sets.add(Fragment(f"SELECT {child}.{key} FROM {table} {child} WHERE {where.text}", where.values))  # noqa: S608
        return Fragment(f"{self._dialect.unled}{alias}.{self._quote(hop.own)} IN (SELECT k FROM {name})")  # noqa: S608

    def _gathers(self, path: _Path, at: int) -> bool:
        """Whether at this hop many rows may lead to the same one, from which a later hop spreads again."""
        here = path.hops[at - 1].table if at else path.table
        if self._is_sole(here, path.hops[at].own):
            return False
        here = path.hops[at].table
        for hop in path.hops[at + 1 :]:
            if not self._is_sole(hop.table, hop.other):
                return True
            if not self._is_sole(here, hop.own):
                return False  # that hop gathers what this one has gathered
            here = hop.table
        return False

    def _is_sole(self, table: str, column: str) -> bool:
        """Whether no two rows of the table have the same value there."""
        field = self._catalog.schema.by_table[table].by_name[column]
        return field.key is not None or field.unique

    def _shortened(self, comparison: Comparison) -> tuple[Hop, ...]:
        """Without a last hop that only leads to the key which our side's column holds already."""
        hops = comparison.hops
        if not hops or comparison.operator in NULL_TESTS:
            return hops
        last = hops[-1]
        needless = last.sure and last.other == comparison.column and not self._guard_hop(last, "x")
        return hops[:-1] if needless else hops

    def _leaf(self, comparison: Comparison, alias: str, column: str | None = None) -> Fragment:
        if comparison.any_row:
            return Fragment("1 = 1")
        name = f"{alias}.{self._quote(column or comparison.column)}"
        operator, values = comparison.operator, comparison.values
        if operator in NULL_TESTS:
            return Fragment(f"{name} IS {'NOT ' if operator is Operator.NOT_NULL else ''}NULL")
        if operator in LISTS:
            padded = _padded(values)
            marks = ", ".join("?" * len(padded))
            return Fragment(f"{name} {'NOT ' if operator is Operator.NOT_IN else ''}IN ({marks})", padded)
        if operator in PATTERNS:
            return Fragment(f"{name} {'NOT ' if operator is Operator.NOT_LIKE else ''}LIKE ? ESCAPE '|'", values)
        sign = "<>" if operator is Operator.NOT_EQUAL else operator.value
        return Fragment(f"{name} {sign} ?", values)

    def _guard_hop(self, hop: Hop, alias: str) -> list[Fragment]:
        return [] if hop.entity is None else self._guard(self._catalog.entities[hop.entity], alias)

    def _kind(self, entity: Entity, alias: str) -> list[Fragment]:
        """The condition that limits the rows of a table to those of the entity's type."""
        if entity.type_column is None:
            return []
        return [Fragment(f"{alias}.{self._quote(entity.type_column)} = ?", (entity.type_value,))]

    def _guard(self, entity: Entity, alias: str, unled: str = "") -> list[Fragment]:
        """The condition that limits the entity's rows: by its type, and by the account that asks."""
        found = self._kind(entity, alias)
        owner = self._scope.owner
        if owner is None:
            return found
        if entity.owner is not None:
            found.append(self._owned(entity, alias, entity.owner, owner, unled))
        elif entity.owned_by is not None:
            hop, child = entity.owned_by, self._alias()
            link = Fragment(f"{child}.{self._quote(hop.other)} = {unled}{alias}.{self._quote(hop.own)}")
            where = self._all([link, *self._guard_hop(hop, child)])
            text = f"EXISTS (SELECT 1 FROM {self._quote(hop.table)} {child} WHERE {where.text})"  # noqa: S608
            found.append(Fragment(text, where.values))
        return found

    def _owned(self, entity: Entity, alias: str, column: str, owner: str, unled: str) -> Fragment:
        own = f"{unled}{alias}.{self._quote(column)} = ?"
        shares = self._shares
        if shares is None:
            return Fragment(own, (owner,))
        child, quote = self._alias(), self._quote
        here = f"{child}.{quote(shares.resource)} = {alias}.{quote(entity.key.name)}"
        with_us = f"({child}.{quote(shares.account)} = ? OR {child}.{quote(shares.public)} = 1)"
        shared = f"EXISTS (SELECT 1 FROM {quote(shares.table)} {child} WHERE {here} AND {with_us})"  # noqa: S608
        return Fragment(f"({own} OR {shared})", (owner, owner))

    def _tie(self, entity: Entity) -> str:
        """What tells a row from all others, in a fixed order."""
        return f"a.{self._driver.row_order or self._quote(entity.key.name)}"

    def _sorted_by(self, sort: Sort | None) -> str:
        """The value that rows are sorted by."""
        if sort is None:
            return "NULL"
        column = sort[0]
        if not column.hops:
            return f"a.{self._quote(column.column)}"
        hop = column.hops[0]
        return (
            f"(SELECT s.{self._quote(column.column)} FROM {self._quote(hop.table)} s "  # noqa: S608 (names of the schema)
            f"WHERE s.{self._quote(hop.other)} = a.{self._quote(hop.own)})"
        )

    def _all(self, fragments: Iterable[Fragment]) -> Fragment:
        some = list(fragments)
        values = tuple(value for fragment in some for value in fragment.values)
        return Fragment(" AND ".join(fragment.text for fragment in some) or "1 = 1", values)

    def _alias(self) -> str:
        self._aliases += 1
        return f"t{self._aliases}"


def _walked(sort: Sort | None) -> str | None:
    """The column whose index gives this order."""
    column = None if sort is None or sort[0].hops else sort[0]
    return column.column if column is not None and is_indexed(column.field) else None


def _where(fragments: Sequence[Fragment]) -> Fragment:
    """The clause; nothing, where there are no conditions: a bare count is what databases do fastest."""
    values = tuple(value for fragment in fragments for value in fragment.values)
    text = " AND ".join(fragment.text for fragment in fragments)
    return Fragment(f" WHERE {text}" if text else "", values)


def _headed(sets: _Sets | None, query: Fragment) -> Fragment:
    """The query with its sets before it."""
    if sets is None or not sets.made:
        return query
    values = tuple(value for one in sets.made for value in one.values)
    return Fragment(f"WITH {', '.join(one.text for one in sets.made)} {query.text}", (*values, *query.values))


def _padded(values: tuple[SqlValue, ...]) -> tuple[SqlValue, ...]:
    """To the next power of two with the last value, so that there are few different texts."""
    size = 1 << (len(values) - 1).bit_length()
    return values + (values[-1],) * (size - len(values))
