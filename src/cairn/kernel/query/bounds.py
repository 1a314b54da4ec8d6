"""The bounds of a query: what is refused before anything runs, in words that say how to ask instead.

Within them a query costs at most some walks through each table that its paths touch (see `plan`), so the deadline is
met by all but those over the largest tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.query.condition import PATTERNS, Condition
from cairn.kernel.query.resolve import Comparison

MAX_CONDITIONS: Final = 50
MAX_JOINS: Final = 8  #: of one condition
MAX_JOINS_IN_ALL: Final = 32
MAX_VALUES: Final = 10_000  #: of all lists together
MAX_PATTERN: Final = 1_000  #: characters
MAX_TEXT: Final = 500_000  #: characters, of all conditions together; a list of `MAX_VALUES` uuids fits
MAX_NAMES: Final = 200
MAX_NAME: Final = 200  #: characters


def check_size(conditions: Sequence[str], names: Sequence[str]) -> None:
    """Refuse what is too much to be read.

    Args:
        conditions: as they were sent.
        names: of fields to show and to sort by.

    Raises:
        CairnError: ``query.too-complex``.
    """
    _check("conditions", len(conditions), MAX_CONDITIONS, "Ask with fewer, or with a list (name?=a,b).")
    _check("characters of conditions", sum(map(len, conditions)), MAX_TEXT, "Ask in several queries.")
    _check("fields", len(names), MAX_NAMES, "Ask for all fields by naming none.", field="fields")
    _check(
        "characters of a field's name",
        max(map(len, names), default=0),
        MAX_NAME,
        "No field's name is so long.",
        field="fields",
    )


def check_cost(conditions: Sequence[Condition], comparisons: Sequence[Comparison]) -> None:
    """Refuse what would touch too many tables, or compare with too much.

    Args:
        conditions: as they were written.
        comparisons: what they stand for, in the same order.

    Raises:
        CairnError: ``query.too-complex``.
    """
    joins = [len(condition.path) - 1 for condition in conditions]
    _check("joins in one condition", max(joins, default=0), MAX_JOINS, "Begin nearer to what you look for.")
    _check("joins in all conditions", sum(joins), MAX_JOINS_IN_ALL, "Ask in several queries, with lists of uuids.")
    values = sum(len(comparison.values) for comparison in comparisons)
    _check("values in lists", values, MAX_VALUES, "Ask in several queries.")
    patterns = [len(condition.value) for condition in conditions if condition.operator in PATTERNS]
    _check("characters of a pattern", max(patterns, default=0), MAX_PATTERN, "Look for a part of it.")


def too_slow(seconds: float) -> CairnError:
    """The error of a query that was broken off after so many seconds."""
    return CairnError(
        "query.too-slow",
        f"The query was broken off after {seconds:g} s, and nothing was changed. Ask for less: a condition on an indexed "
        "field (`indexed` in /v1/schema), fewer joins to many, a smaller limit, no count.",
        kind=ErrorKind.TIMEOUT,
    )


def _check(what: str, found: int, most: int, do: str, field: str = "q") -> None:
    if found > most:
        raise CairnError(
            "query.too-complex",
            f"The query has {found} {what}; at most {most} fit. {do}",
            fields={field: f"found {found} {what}; at most {most} fit"},
            details={"found": found, "most": most},
        )
