"""Finds every wrong field of a call, not only the first.

This runs only after the fast way, one `msgspec.convert` for the whole message, has failed; so it may be slow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Union, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Struct

from cairn.gateway.words import fits, found, hidden, nearest
from cairn.kernel.api import is_secret

Wrong = tuple[str, str]  # the field's path (``disks[0].size``), and the sentence about it


def wrong_fields(struct: type[Struct], values: Mapping[str, object], *, text: bool, path: str = "") -> Iterator[Wrong]:
    """Every field of `values` that does not fit `struct`, with what was found and what would fit.

    Args:
        struct: what the values are to become.
        values: by wire name.
        text: scalars are texts (a query string), so that ``"5"`` is a number.
        path: of the object that holds the values, with a dot behind it.
    """
    known = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    for name in values:
        if name not in known:
            yield f"{path}{name}", _unknown(name, known)
    for name, field in known.items():
        if name in values:
            yield from wrong_value(field.type, values[name], f"{path}{name}", text=text)
        elif field.default is NODEFAULT and field.default_factory is NODEFAULT:
            yield f"{path}{name}", f"missing; {fits(field.type)}"


def wrong_value(type_: object, value: object, path: str, *, text: bool) -> Iterator[Wrong]:
    """Every place inside `value` that does not fit `type_`."""
    try:
        msgspec.convert(value, type_, strict=not text)
        return
    except msgspec.ValidationError:
        pass
    plain = _plain(type_)
    inner = [*_inside(plain, value, path, text)]
    if inner:
        yield from inner
    else:
        seen = hidden(value) if is_secret(type_) else found(value)
        yield path, f"{seen}; {fits(type_)}"


def markers(type_: object) -> Iterator[object]:
    """All markers of a type, at whatever depth: ``Annotated[str, Refers("Zone")] | None`` has one."""
    if get_origin(type_) is Annotated:
        yield from type_.__metadata__  # type: ignore[attr-defined]
    for inner in get_args(type_):
        if not isinstance(inner, type):
            yield from markers(inner)


def _plain(type_: object) -> object:
    """The type without its markers and without None."""
    while get_origin(type_) is Annotated:
        type_ = get_args(type_)[0]
    if get_origin(type_) in (Union, UnionType):
        rest = [one for one in get_args(type_) if one is not NoneType]
        return _plain(rest[0]) if len(rest) == 1 else type_
    return type_


def _inside(plain: object, value: object, path: str, text: bool) -> Iterator[Wrong]:
    if isinstance(plain, type) and issubclass(plain, Struct) and isinstance(value, dict):
        yield from wrong_fields(plain, value, text=text, path=f"{path}.")
    elif get_origin(plain) is list and isinstance(value, list):
        for place, item in enumerate(value):
            yield from wrong_value(get_args(plain)[0], item, f"{path}[{place}]", text=text)
    elif get_origin(plain) is dict and isinstance(value, dict):
        for key, item in value.items():
            yield from wrong_value(get_args(plain)[1], item, f"{path}.{key}", text=text)


def _unknown(name: str, known: Mapping[str, object]) -> str:
    near = nearest(name, known)
    if near:
        return f"unknown; did you mean {near}?"
    return f"unknown; the fields are {', '.join(known)}" if known else "unknown; there are no fields"
