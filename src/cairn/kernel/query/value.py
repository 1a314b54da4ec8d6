"""Values in conditions: text into the field's own type, as the database compares it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.query.condition import LISTS, NULL_TESTS, PATTERNS, Condition, Operator, bad_value, wrong
from cairn.kernel.store.record import Field, Kind, SqlValue
from cairn.kernel.store.types import to_micros

_NULLS = NULL_TESTS
_EQUALITY = _NULLS | LISTS | {Operator.EQUAL, Operator.NOT_EQUAL}
_ORDER = _EQUALITY | {Operator.GREATER, Operator.AT_LEAST, Operator.LESS, Operator.AT_MOST}
_ALL = frozenset(Operator)
OPERATORS: dict[Kind, frozenset[Operator]] = {
    Kind.ID: _ALL,
    Kind.TEXT: _ALL,
    Kind.ENUM: _ALL,
    Kind.INT: _ORDER,
    Kind.FLOAT: _ORDER,
    Kind.TIME: _ORDER,
    Kind.BOOL: _EQUALITY,
    Kind.BYTES: _NULLS,
    Kind.JSON: _NULLS | PATTERNS,
    Kind.OPAQUE: _NULLS,
}
_EXPECTED = {
    Kind.INT: "a whole number of at most 64 bits would fit",
    Kind.FLOAT: "a number would fit",
    Kind.BOOL: "true or false would fit",
    Kind.TIME: "a time such as 2026-11-22T13:05:09Z would fit (without zone: UTC)",
}


def values_of(condition: Condition, field: Field, sealed: Sequence[str] = ()) -> list[SqlValue]:
    """The condition's value, or each of its comma list, as the database compares it; none for null tests.

    Args:
        sealed: the beginnings of texts whose rest is sealed.

    Raises:
        CairnError: ``query.bad-operator`` if the field cannot be compared that way, ``query.bad-value``,
            ``query.sealed-value`` if it asks for what is sealed.
    """
    operator = condition.operator
    if operator not in OPERATORS[field.kind]:
        fits = " ".join(one.value for one in Operator if one in OPERATORS[field.kind])
        position = condition.text.find(operator)
        raise wrong(
            "query.bad-operator",
            condition.text,
            position,
            operator,
            f"{field.wire} is {field.kind.value}; {fits} would fit",
        )
    if operator in NULL_TESTS:
        return []
    if field.continued is not None:
        _refuse_sealed(condition, sealed)
    if operator in PATTERNS:
        return [_pattern(condition.value)]
    texts = condition.value.split(",") if operator in LISTS else [condition.value]
    return [_value(condition, field, text) for text in texts]


def _refuse_sealed(condition: Condition, sealed: Sequence[str]) -> None:
    """Refuse to look for a value that is sealed. What was looked for is not repeated: it may be the secret itself."""
    texts = condition.value.split(",") if condition.operator in LISTS else [condition.value]
    for text in texts:
        for beginning in sealed:
            if text.lower().startswith(beginning.lower()) and text[len(beginning) :] not in ("", "%"):
                path = ".".join(condition.path)
                fits = f"{path}~={beginning}% would fit: it finds all of them"
                raise CairnError(
                    "query.sealed-value",
                    f"condition on {path}: what follows {beginning!r} is sealed, so nothing can be found by it; {fits}.",
                    kind=ErrorKind.INVALID,
                    fields={"q": f"found a value behind {beginning!r}, which is sealed; {fits}"},
                )


def _value(condition: Condition, field: Field, text: str) -> SqlValue:
    match field.kind:
        case Kind.INT | Kind.FLOAT | Kind.TIME:
            try:
                return _number(field.kind, text.strip())
            except (ValueError, OverflowError):
                raise bad_value(
                    condition, text, f"{field.wire} is {field.kind.value}; {_EXPECTED[field.kind]}"
                ) from None
        case Kind.BOOL:
            if text.strip().lower() not in ("true", "false"):
                raise bad_value(condition, text, f"{field.wire} is bool; {_EXPECTED[field.kind]}")
            return int(text.strip().lower() == "true")
        case Kind.ENUM:
            for choice in field.choices:
                if choice.lower() == text.lower():
                    return choice
            raise bad_value(condition, text, f"{field.wire} is one of {', '.join(field.choices)}")
        case _:
            return text


def _number(kind: Kind, text: str) -> int | float:
    if kind is Kind.TIME:
        moment = datetime.fromisoformat(text)
        return to_micros(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))
    if kind is Kind.FLOAT:
        number = float(text)
        if math.isnan(number):
            raise ValueError(text)
        return number
    whole = int(text) if text.lstrip("+-").isdecimal() else float(text)
    if whole != int(whole) or not -(2**63) <= whole < 2**63:
        raise ValueError(text)
    return int(whole)


def _pattern(text: str) -> str:
    r"""`%` and `_` as they are; a backslash before a character takes its meaning away. Our own escape is ``|``."""
    made: list[str] = []
    characters = iter(text)
    for character in characters:
        if character == "\\":
            following = next(characters, "\\")
            made.append(f"|{following}" if following in "%_|" else following)
        else:
            made.append("||" if character == "|" else character)
    return "".join(made)
