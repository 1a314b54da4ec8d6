"""From names to columns: a condition's path looked up in the catalog, with errors that show the way."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from msgspec import Struct

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.query.catalog import Catalog, Column, Entity, Hop
from cairn.kernel.query.condition import NULL_TESTS, POSITIVE, Condition, Operator, did_you_mean, wrong
from cairn.kernel.query.value import values_of
from cairn.kernel.store.record import Field, Kind, SqlValue

#: characters; looking for what is like it takes the square of its length
_LONGEST_COMPARED = 100
_COARSE = (Kind.ENUM, Kind.BOOL)


class Comparison(Struct, frozen=True, kw_only=True):
    """A condition that can be made SQL of: along `hops` to a column, compared there.

    `none_of`: the comparison holds for none of the rows at the end of the last hop.
    `any_row`: there is one at all (the comparison is left out). `coarse`: the column has few different values, so one of them
    finds much; an index of it leads only where there is no better one.
    """

    hops: tuple[Hop, ...]
    column: str
    operator: Operator
    values: tuple[SqlValue, ...]
    indexed: bool
    none_of: bool = False
    any_row: bool = False
    coarse: bool = False


def resolve(catalog: Catalog, entity: Entity, condition: Condition) -> Comparison:
    """The comparison that a condition stands for.

    Raises:
        CairnError: ``query.unknown-field``, ``query.bad-operator``, ``query.bad-value``, ``query.sealed-value``.
    """
    here = entity
    hops: list[Hop] = []
    last = len(condition.path) - 1
    for depth, name in enumerate(condition.path):
        if depth == last and name in here.columns:
            return _compare(here, hops, here.columns[name], condition, catalog.sealed)
        join = here.joins.get(name)
        if join is None or depth == last:
            raise _unknown(here, condition, depth)
        hops += join.hops
        here = catalog.entities[join.target]
    raise _unknown(here, condition, last)


def _compare(here: Entity, hops: list[Hop], column: Column, condition: Condition, sealed: Sequence[str]) -> Comparison:
    values = tuple(values_of(condition, column.field, sealed))
    operator = condition.operator
    none_of = column.set and operator in POSITIVE
    if none_of:
        operator = POSITIVE[operator]
    return Comparison(
        hops=(*hops, *column.hops),
        column=column.column,
        operator=operator,
        values=values,
        indexed=is_indexed(column.field),
        none_of=none_of,
        any_row=column.set and operator in NULL_TESTS,
        coarse=column.field.kind in _COARSE,
    )


def is_indexed(field: Field) -> bool:
    """Whether rows are found, and sorted, by this field without looking at all of them."""
    return field.index or field.unique or field.key is not None


def fixed_subtype(catalog: Catalog, entity: Entity, conditions: list[Condition]) -> Entity:
    """The subtype that a condition ``type=value`` fixes; else the entity itself."""
    for condition in conditions:
        if condition.operator is Operator.EQUAL and condition.path == (entity.subtype_field,):
            for value, name in entity.subtypes.items():
                if value.lower() == condition.value.lower():
                    return catalog.entities[name]
    return entity


def nearest(name: str, names: list[str]) -> list[str]:
    """Up to three of `names` that `name` may have been meant to be."""
    if len(name) > _LONGEST_COMPARED:
        return []
    by_lower = {one.lower(): one for one in names}
    return [by_lower[one] for one in get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)]


def unknown(code: str, parameter: str, found: str, what: str, names: list[str]) -> CairnError:
    """A name in `parameter` that is not among `names`; `what` begins the sentence that lists them."""
    near = nearest(found, names)
    return CairnError(
        code,
        f"{what} {', '.join(names)}.{did_you_mean(near)}",
        kind=ErrorKind.INVALID,
        fields={parameter: f"found {found!r}; {', '.join(near or names)} would fit"},
        details={"found": found, "nearest": near, "fits": names},
    )


def _unknown(here: Entity, condition: Condition, depth: int) -> CairnError:
    name, position = condition.path[depth], condition.positions[depth]
    last = depth == len(condition.path) - 1
    fields, joins = sorted(here.columns), sorted(here.joins)
    text = condition.text
    if last and name in here.joins:
        there = here.joins[name].target
        fits = f"{name} leads to {there}: put a dot and one of its fields behind it"
        return wrong("query.unknown-field", text, position, name, fits)
    if not last and name in here.columns:
        fits = (
            f"{name} is a field of {here.name}, nothing lies behind it; ways to go on are {', '.join(joins) or 'none'}"
        )
        return wrong("query.unknown-field", text, position, name, fits, names=joins)
    names = [*fields, *joins] if last else joins
    kinds = f"fields are {', '.join(fields)}; joins (with a dot behind) are {', '.join(joins) or 'none'}"
    fits = (
        f"{here.name} has no such {'field' if last else 'join'}; {kinds if last else 'joins are ' + ', '.join(joins)}"
    )
    if here.subtypes and here.subtype_field is not None:
        fits += f"; more fields with {here.subtype_field}= one of {', '.join(here.subtypes)}"
    return wrong("query.unknown-field", text, position, name, fits, nearest=nearest(name, names), names=names)
