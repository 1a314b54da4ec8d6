"""Sentences about values: what was found, and what would fit, from a field's type."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Final

import msgspec
from msgspec import inspect

_LONGEST: Final = 80


def found(value: object) -> str:
    """The value as the caller wrote it, cut when it is long."""
    try:
        text = msgspec.json.encode(value).decode()
    except (TypeError, ValueError, OverflowError):
        text = repr(value)
    return f"found {text if len(text) <= _LONGEST else text[:_LONGEST] + '…'}"


def hidden(value: object) -> str:
    """A phrase for a secret value, which tells its length only."""
    return f"found a text of {len(value)} characters" if isinstance(value, str) else "found no text"


def nearest(name: str, names: Iterable[str]) -> str:
    """The one of `names` that is most like `name`; empty if none is."""
    by_lower = {known.lower(): known for known in names}
    near = get_close_matches(name[:100].lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[near[0]] if near else ""


def fits(type_: object) -> str:
    """A phrase for the values that fit a field of this Python type: ``text of 1 to 255 characters would fit``."""
    return f"{_phrase(inspect.type_info(type_))} would fit"


def _phrase(kind: inspect.Type) -> str:
    match kind:
        case inspect.Metadata():
            said = (kind.extra_json_schema or {}).get("description")
            plain = _phrase(kind.type)
            return str(said) if said and isinstance(kind.type, inspect.StrType) and kind.type.pattern else plain
        case inspect.UnionType():
            return " or ".join(_phrase(one) for one in kind.types)
        case inspect.EnumType():
            return _choices([str(member.value) for member in kind.cls])
        case inspect.LiteralType():
            return _choices([str(value) for value in kind.values])
        case inspect.ListType() | inspect.SetType() | inspect.FrozenSetType() | inspect.VarTupleType():
            return f"a list{_count(kind.min_length, kind.max_length, 'items')}, each {_phrase(kind.item_type)}"
        case inspect.DictType():
            return f"an object whose values are each {_phrase(kind.value_type)}"
        case inspect.StructType():
            return _struct(kind)
        case _:
            return _scalar(kind)


def _scalar(kind: inspect.Type) -> str:
    match kind:
        case inspect.StrType(pattern=str(pattern)):
            return f"text that matches {pattern}"
        case inspect.StrType():
            return f"text{_count(kind.min_length, kind.max_length, 'characters')}"
        case inspect.IntType():
            return f"a whole number{_bounds(kind)}"
        case inspect.FloatType():
            return f"a number{_bounds(kind)}"
        case inspect.BoolType():
            return "true or false"
        case inspect.NoneType():
            return "null"
        case inspect.DateTimeType():
            return "a time such as 2026-11-22T13:05:09Z"
        case inspect.AnyType() | inspect.RawType():
            return "anything"
        case _:
            return type(kind).__name__.removesuffix("Type").lower()


def _struct(kind: inspect.StructType) -> str:
    names = ", ".join(field.encode_name for field in kind.fields)
    needed = ", ".join(field.encode_name for field in kind.fields if field.required)
    return f"an object with the fields {names}" + (f" (needed: {needed})" if needed else "") if names else "{}"


def _choices(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"one of {', '.join(texts)}"


def _count(low: int | None, high: int | None, unit: str) -> str:
    if low is not None and high is not None:
        return f" of {low} {unit}" if low == high else f" of {low} to {high} {unit}"
    if low is not None:
        return f" of at least {low} {unit}"
    return "" if high is None else f" of at most {high} {unit}"


def _bounds(kind: inspect.IntType | inspect.FloatType) -> str:
    parts = [
        f"{word} {bound:g}" if isinstance(bound, float) else f"{word} {bound}"
        for word, bound in (("from", kind.ge), ("above", kind.gt), ("to", kind.le), ("below", kind.lt))
        if bound is not None
    ]
    if kind.multiple_of is not None:
        parts.append(f"in steps of {kind.multiple_of}")
    return f" {' '.join(parts)}" if parts else ""
