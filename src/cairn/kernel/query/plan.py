"""SQL for a query: bound parameters, EXISTS along indexed keys, and a choice of where to begin.

A condition behind hops is an EXISTS over the next table, nested hop by hop. That is fast when many rows fit (a page is
full after few rows), and slow when few do (every row is tried). So before such a query the planner probes: it goes the
other way, from the condition's end to the entity, and stops after `RARE` rows. If it gets to the end before, these rows
are few, and the query begins with them; else it begins with the entity, in the order asked for. Either way the work is
bounded by a few thousand rows, however large the tables are (unless many rows fit each of two conditions and few both).

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
    ) -> Fragment:
        """The keys of the rows asked for, in order. `sort`: the column, and whether descending."""
        by = sort[0] if sort is not None and not sort[0].hops and rare is None else None
        body = self._body(entity, comparisons, rare, by.column if by is not None and is_indexed(by.field) else None)
        order = self._order(entity, sort)
        text = f"SELECT a.{self._quote(entity.key.name)}{body.text} ORDER BY {order.text} LIMIT ? OFFSET ?"
        return Fragment(text, (*body.values, *order.values, limit, start))

    def count(self, entity: Entity, comparisons: Sequence[Comparison], rare: Comparison | None) -> Fragment:
        """The statement that counts the rows which fit."""
        body = self._body(entity, comparisons, rare)
        return Fragment(f"SELECT count(*){body.text}", body.values)

    def probe(self, entity: Entity, comparison: Comparison) -> Fragment:
        """One row if more than `RARE` rows of the entity fit this one condition, else none."""
        body = self._from_the_end(entity, comparison)
        return Fragment(f"SELECT 1{body.text} LIMIT 1 OFFSET {RARE}", body.values)

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
        self, entity: Entity, comparisons: Sequence[Comparison], rare: Comparison | None, walk: str | None = None
    ) -> Fragment:
        """`walk`: the column whose index gives the order asked for. As many rows fit each condition, a page is full
        after few of them, so no condition on another column may pull the database to that one's index (a plus before
        the column) and so to sorting all its rows."""
        table = self._quote(entity.base.meta.table)
        fits: list[Fragment] = []
        for one in comparisons:
            if one is not rare:
                found = self._fits(one, "a")
                apart = walk is not None and not one.hops and one.column != walk
                fits.append(Fragment(f"+{found.text}", found.values) if apart else found)
        where = self._all([*self._guard(entity, "a"), *fits])
        if rare is None:
            return Fragment(f" FROM {table} a WHERE {where.text}", where.values)
        row = self._driver.row_order or self._quote(entity.key.name)
        leading = self._from_the_end(entity, rare)
        text = f" FROM (SELECT DISTINCT r.{row} AS k{leading.text}) d CROSS JOIN {table} a ON a.{row} = d.k"
        return Fragment(f"{text} WHERE {where.text}", (*leading.values, *where.values))

    def _from_the_end(self, entity: Entity, comparison: Comparison) -> Fragment:
        """FROM and WHERE that go from the condition's end to the entity, alias r."""
        tables = [(self._quote(entity.base.meta.table), "r")]
        links: list[Fragment] = []
        alias = "r"
        for hop in comparison.hops:
            child = self._alias()
            tables.append((self._quote(hop.table), child))
            links.append(Fragment(f"{alias}.{self._quote(hop.own)} = {child}.{self._quote(hop.other)}"))
            links += self._guard_hop(hop, child)
            alias = child
        joined = " CROSS JOIN ".join(f"{table} {name}" for table, name in reversed(tables))
        where = self._all([self._leaf(comparison, alias), *links])
        return Fragment(f" FROM {joined} WHERE {where.text}", where.values)

    def _fits(self, comparison: Comparison, alias: str) -> Fragment:
        return self._along(self._shortened(comparison), 0, alias, comparison)

    def _along(self, hops: Sequence[Hop], depth: int, alias: str, comparison: Comparison) -> Fragment:
        if depth == len(hops):
            column = comparison.column if len(hops) == len(comparison.hops) else comparison.hops[-1].own
            return self._leaf(comparison, alias, column)
        hop, child = hops[depth], self._alias()
        inner = self._along(hops, depth + 1, child, comparison)
        link = Fragment(f"{child}.{self._quote(hop.other)} = {alias}.{self._quote(hop.own)}")
        where = self._all([link, *self._guard_hop(hop, child), inner])
        negated = "NOT " if comparison.none_of and depth == len(hops) - 1 else ""
        text = f"{negated}EXISTS (SELECT 1 FROM {self._quote(hop.table)} {child} WHERE {where.text})"  # noqa: S608
        return Fragment(text, where.values)

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


def _padded(values: tuple[SqlValue, ...]) -> tuple[SqlValue, ...]:
    """To the next power of two with the last value, so that there are few different texts."""
    size = 1 << (len(values) - 1).bit_length()
    return values + (values[-1],) * (size - len(values))
