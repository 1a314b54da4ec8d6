"""SQL for a query: bound parameters, work that is bounded by the size of tables, and a choice of where to begin.

A condition behind hops is an EXISTS over the next tables. That is fast when many rows fit (a page is full after few
rows), and slow when few do (every row is tried). So before such a query the planner probes: it goes the other way,
from the condition's end to the entity, with at most `RARE` rows at each hop. If it gets to the entity, these rows are
few, and the query begins with them; else it begins with the entity, in the order asked for.

A path that gathers (many VMs, one zone) and then spreads (that zone, its many VMs) would be walked again from each
row, and once more at each such turn: rows times rows times rows. There the walk is cut: the rows of the gathering
table that fit what follows are found once, as a set, and a row only looks whether it leads into that set (`once`). So
each table of a path is gone through once at most. As the sets are made whole even where the first rows would have
filled the page, such a query is tried without sets first, for so many steps of the database (`PATIENCE`).

Ownership is part of every hop that reaches an entity, and of every list that is shown inside an inventory.
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
#: steps of the database's machine for a try without sets: some 20 ms
PATIENCE = 1_000_000


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


class _Path(Struct, frozen=True):
    """The way of one comparison, from a table."""

    table: str
    hops: tuple[Hop, ...]
    comparison: Comparison


class _Sets:
    """The sets that a statement begins with."""

    def __init__(self, driver: Driver) -> None:
        self.made: list[Fragment] = []
        self._materialized = driver.materialized

    def add(self, query: Fragment) -> str:
        """Have the rows of `query` as a set, with the column k; returns its name."""
        name = f"w{len(self.made) + 1}"
        self.made.append(Fragment(f"{name}(k) AS {self._materialized} ({query.text})", query.values))
        return name


class Planner:
    """Makes SQL for one query."""

    def __init__(self, catalog: Catalog, driver: Driver, scope: Scope, shares: Shares | None) -> None:
        self._catalog = catalog
        self._driver = driver
        self._quote = driver.dialect.identifier_preparer.quote
        self._scope = scope
        self._shares = shares
        self._aliases = 0

    def page(
        self,
        entity: Entity,
        comparisons: Sequence[Comparison],
        rare: Comparison | None,
        sort: tuple[Column, bool] | None,
        limit: int,
        start: int,
        *,
        once: bool = True,
    ) -> Fragment:
        """The keys of the rows asked for, in order.

        Args:
            sort: the column, and whether descending.
            once: with sets where a path turns, see above.
        """
        by = sort[0] if sort is not None and not sort[0].hops and rare is None else None
        walk = by.column if by is not None and is_indexed(by.field) else None
        sets = _Sets(self._driver) if once else None
        body = self._body(entity, comparisons, rare, sets, walk)
        order = self._order(entity, sort)
        text = f"SELECT a.{self._quote(entity.key.name)}{body.text} ORDER BY {order.text} LIMIT ? OFFSET ?"
        return _headed(sets, Fragment(text, (*body.values, *order.values, limit, start)))

    def count(self, entity: Entity, comparisons: Sequence[Comparison], rare: Comparison | None) -> Fragment:
        """The statement that counts the rows which fit."""
        sets = _Sets(self._driver)
        body = self._body(entity, comparisons, rare, sets)
        return _headed(sets, Fragment(f"SELECT count(*){body.text}", body.values))

    def probe(self, entity: Entity, comparison: Comparison) -> Fragment:
        """One row if more than `RARE` rows, of the entity or at a hop on the way to it, fit this one condition; else none."""
        levels, names = self._from_the_end(entity, comparison)
        many = " OR ".join(f"(SELECT count(*) FROM {name}) > ?" for name in names)  # noqa: S608 (names of our own)
        return Fragment(f"{levels.text} SELECT 1 WHERE {many}", (*levels.values, *[RARE] * len(names)))

    def turns(self, entity: Entity, comparisons: Sequence[Comparison]) -> bool:
        """Whether one of the paths gathers and then spreads."""
        paths = [_Path(entity.base.meta.table, self._shortened(one), one) for one in comparisons]
        return any(self._gathers(path, at) for path in paths for at in range(len(path.hops)))

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
        """The condition that limits the rows of an entity to those that may be seen; starts with AND, or is empty."""
        guards = self._guard(entity, alias)
        limits = self._all(guards)
        return Fragment(f" AND {limits.text}", limits.values) if guards else Fragment("")

    def _body(
        self,
        entity: Entity,
        comparisons: Sequence[Comparison],
        rare: Comparison | None,
        sets: _Sets | None,
        walk: str | None = None,
    ) -> Fragment:
        """`walk`: the column whose index gives the order asked for. As many rows fit each condition, a page is full
        after few of them, so no condition on another column may pull the database to that one's index (a plus before
        the column) and so to sorting all its rows."""
        name = entity.base.meta.table
        table = self._quote(name)
        fits: list[Fragment] = []
        for one in comparisons:
            if one is not rare:
                found = self._along(_Path(name, self._shortened(one), one), 0, "a", sets)
                apart = walk is not None and not one.hops and one.column != walk
                fits.append(Fragment(f"+{found.text}", found.values) if apart else found)
        where = self._all([*self._guard(entity, "a"), *fits])
        if rare is None:
            return Fragment(f" FROM {table} a WHERE {where.text}", where.values)
        row = self._driver.row_order or self._quote(entity.key.name)
        levels, names = self._from_the_end(entity, rare)
        leading = f"{levels.text} SELECT DISTINCT k FROM {names[-1]}"  # noqa: S608 (names of our own)
        text = f" FROM ({leading}) d CROSS JOIN {table} a ON a.{row} = d.k"
        return Fragment(f"{text} WHERE {where.text}", (*levels.values, *where.values))

    def _from_the_end(self, entity: Entity, comparison: Comparison) -> tuple[Fragment, list[str]]:
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
            guards = self._guard_hop(hops[at - 1], alias) if at else []
            source = f"{quote(tables[at])} {alias}"
            if at == len(hops):
                guards = [self._leaf(comparison, alias), *guards]
            else:
                before = f"(SELECT DISTINCT k FROM s{len(made)}) d"  # noqa: S608 (names of our own)
                source = f"{before} CROSS JOIN {source} ON {alias}.{quote(hops[at].own)} = d.k"
            where = self._all(guards)
            text = f"SELECT {alias}.{shown} FROM {source} WHERE {where.text} LIMIT {RARE + 1}"  # noqa: S608
            made.append(Fragment(f"s{len(made) + 1}(k) AS {self._driver.materialized} ({text})", where.values))
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
        text = f"EXISTS (SELECT 1 FROM {' CROSS JOIN '.join(tables)} WHERE {where.text})"  # noqa: S608
        return Fragment(f"NOT {text}" if negated else text, where.values)

    def _in_set(self, path: _Path, at: int, alias: str, sets: _Sets) -> Fragment:
        """The condition that the row leads into the set of those that fit the rest of the path; no index may begin with it."""
        hop, child = path.hops[at], self._alias()
        where = self._all([*self._guard_hop(hop, child), self._along(path, at + 1, child, sets)])
        key, table = self._quote(hop.other), self._quote(hop.table)
        name = sets.add(Fragment(f"SELECT {child}.{key} FROM {table} {child} WHERE {where.text}", where.values))  # noqa: S608
        return Fragment(f"+{alias}.{self._quote(hop.own)} IN (SELECT k FROM {name})")  # noqa: S608

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

    def _guard(self, entity: Entity, alias: str) -> list[Fragment]:
        """The condition that limits the entity's rows: by its type, and by the account that asks."""
        found: list[Fragment] = []
        if entity.type_column is not None:
            found.append(Fragment(f"{alias}.{self._quote(entity.type_column)} = ?", (entity.type_value,)))
        owner = self._scope.owner
        if owner is None:
            return found
        if entity.owner is not None:
            found.append(self._owned(entity, alias, entity.owner, owner))
        elif entity.owned_by is not None:
            hop, child = entity.owned_by, self._alias()
            link = Fragment(f"{child}.{self._quote(hop.other)} = {alias}.{self._quote(hop.own)}")
            where = self._all([link, *self._guard_hop(hop, child)])
            text = f"EXISTS (SELECT 1 FROM {self._quote(hop.table)} {child} WHERE {where.text})"  # noqa: S608
            found.append(Fragment(text, where.values))
        return found

    def _owned(self, entity: Entity, alias: str, column: str, owner: str) -> Fragment:
        own = f"{alias}.{self._quote(column)} = ?"
        shares = self._shares
        if shares is None:
            return Fragment(own, (owner,))
        child, quote = self._alias(), self._quote
        here = f"{child}.{quote(shares.resource)} = {alias}.{quote(entity.key.name)}"
        with_us = f"({child}.{quote(shares.account)} = ? OR {child}.{quote(shares.public)} = 1)"
        shared = f"EXISTS (SELECT 1 FROM {quote(shares.table)} {child} WHERE {here} AND {with_us})"  # noqa: S608
        return Fragment(f"({own} OR {shared})", (owner, owner))

    def _order(self, entity: Entity, sort: tuple[Column, bool] | None) -> Fragment:
        down = " DESC" if sort is not None and sort[1] else ""
        tie = f"a.{self._driver.row_order or self._quote(entity.key.name)}{down}"
        if sort is None:
            return Fragment(tie)
        column, _ = sort
        if not column.hops:
            return Fragment(f"a.{self._quote(column.column)}{down}, {tie}")
        hop = column.hops[0]
        text = (
            f"(SELECT s.{self._quote(column.column)} FROM {self._quote(hop.table)} s "  # noqa: S608
            f"WHERE s.{self._quote(hop.other)} = a.{self._quote(hop.own)}){down}, {tie}"
        )
        return Fragment(text)

    def _all(self, fragments: Iterable[Fragment]) -> Fragment:
        some = list(fragments)
        values = tuple(value for fragment in some for value in fragment.values)
        return Fragment(" AND ".join(fragment.text for fragment in some) or "1 = 1", values)

    def _alias(self) -> str:
        self._aliases += 1
        return f"t{self._aliases}"


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
