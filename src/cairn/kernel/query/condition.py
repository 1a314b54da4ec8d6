"""Conditions as text: ``vmNics.l3Network.name~=web%``: a field or dotted path, an operator, a value without quotes.

The operator is found as ZStack finds it: each is looked for anywhere in the text, in the order of `Operator`, and the
first that occurs wins; the text is cut at its first occurrence. So a value that holds an earlier operator is misread.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from cairn.kernel.error import CairnError, ErrorKind


class Operator(StrEnum):
    """All operators, in the order in which they are looked for."""

    NOT_EQUAL = "!="
    AT_LEAST = ">="
    AT_MOST = "<="
    NOT_IN = "!?="
    NOT_LIKE = "!~="
    LIKE = "~="
    IN = "?="
    EQUAL = "="
    GREATER = ">"
    LESS = "<"
    IS_NULL = "is null"
    NOT_NULL = "not null"


_SHOWN = 200
NULL_TESTS = frozenset((Operator.IS_NULL, Operator.NOT_NULL))
LISTS = frozenset((Operator.IN, Operator.NOT_IN))
PATTERNS = frozenset((Operator.LIKE, Operator.NOT_LIKE))
#: the rest of a negative operator when "not" is put before everything
POSITIVE = {
    Operator.NOT_EQUAL: Operator.EQUAL,
    Operator.NOT_IN: Operator.IN,
    Operator.NOT_LIKE: Operator.LIKE,
    Operator.IS_NULL: Operator.NOT_NULL,
}


class Condition(Struct, frozen=True, kw_only=True):
    """One condition, not yet looked up."""

    text: str
    path: tuple[str, ...]
    positions: tuple[int, ...]  #: where in `text` each part of the path begins, from 0
    operator: Operator
    value: str


def parse(text: str) -> Condition:
    """The condition that `text` writes.

    Raises:
        CairnError: ``query.no-operator``; ``query.bad-value`` if something stands behind a null test.
    """
    for operator in Operator:
        at = text.find(operator)
        if at < 0:
            continue
        value = text[at + len(operator) :]
        path, positions = _path(text[:at])
        condition = Condition(text=text, path=path, positions=positions, operator=operator, value=value)
        if operator in NULL_TESTS and value.strip():
            raise bad_value(condition, value, f"nothing may follow {operator.value!r}")
        return condition
    fits = " ".join(operator.value.replace(" ", " ") for operator in Operator)
    raise wrong("query.no-operator", text, len(text), "", f"an operator is missing; there are {fits}")


def _path(field: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    names: list[str] = []
    positions: list[int] = []
    at = 0
    for part in field.split("."):
        names.append(part.strip())
        positions.append(at + len(part) - len(part.lstrip()))
        at += len(part) + 1
    return tuple(names), tuple(positions)


def cut(text: str) -> str:
    """The beginning of a text that somebody sent, for a sentence about it."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def did_you_mean(names: list[str]) -> str:
    """A question for the end of a sentence; nothing without names."""
    return f" Did you mean {' or '.join(repr(name) for name in names)}?" if names else ""


def bad_value(condition: Condition, found: str, fits: str) -> CairnError:
    """The condition's value, or one of its list, is wrong (``query.bad-value``)."""
    position = condition.text.find(condition.operator) + len(condition.operator)
    return wrong("query.bad-value", condition.text, position, found, fits)


def wrong(
    code: str,
    text: str,
    position: int,
    found: str,
    fits: str,
    *,
    nearest: list[str] | None = None,
    names: list[str] | None = None,
) -> CairnError:
    """An error in a condition: where, what was found, what would fit."""
    text, found = cut(text), cut(found)
    message = f"condition {text!r}, position {position}: found {found!r}; {fits}.{did_you_mean(nearest or [])}"
    return CairnError(
        code,
        message,
        kind=ErrorKind.INVALID,
        fields={"q": f"found {found!r} at position {position} of {text!r}; {fits}"},
        details={
            "condition": text,
            "position": position,
            "found": found,
            "nearest": nearest or [],
            "fits": names or [],
        },
    )
