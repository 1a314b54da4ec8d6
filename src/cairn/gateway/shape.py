"""How the fields of a struct are read from a body or a query string: worked out once per class, used for every call."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final, Generic, TypeVar, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Struct

from cairn.gateway.fields import markers, wrong_fields
from cairn.gateway.words import fits, found, nearest
from cairn.kernel.api import Refers, is_secret
from cairn.kernel.bus.message import TAG_FIELD
from cairn.kernel.error import CairnError

T = TypeVar("T", bound=Struct)
_INDEX: Final = re.compile(r"[0-9]{1,4}")
_MAX_INT: Final = 2**63


class Param(Struct, frozen=True, kw_only=True, eq=False):
    """One field."""

    name: str  #: in Python
    wire: str  #: in bodies, query strings and paths
    type: object
    required: bool
    default: object  #: None if it is required
    refers: str | None  #: the entity whose uuid, or list of uuids, it holds
    secret: bool
    many: bool  #: a list: may be repeated in a query string
    table: bool  #: a map: ``name.key=value`` in a query string


class Shape(Generic[T]):
    """The fields of `struct`, read under the name `name`.

    Args:
        struct: what is made.
        name: what the caller knows it as, for sentences: the API's name.
        variables: wire names of the fields that the path gives.
    """

    def __init__(self, struct: type[T], name: str, variables: Sequence[str] = ()) -> None:
        self.struct = struct
        self.name = name
        self.variables = tuple(variables)
        self.params: dict[str, Param] = {param.wire: param for param in _params(struct)}
        self._trimmed = frozenset(param.wire for param in self.params.values() if not param.secret)

    def of_query(self, query: Sequence[tuple[str, str]], variables: Sequence[str] = ()) -> T:
        """What a query string says: ``k=v``, lists ``k=a&k=b`` or ``k.0=a&k.1=b``, maps ``k.name=v``.

        Raises:
            CairnError: ``api.invalid-field`` with every field that does not fit, one given twice among them.
        """
        values: dict[str, object] = {}
        wrong: dict[str, str] = {}
        for name, value in query:
            self._put(values, wrong, name, value)
        return self.make(values, variables, text=True, wrong=wrong)

    def make(
        self,
        values: dict[str, object],
        variables: Sequence[str] = (),
        *,
        text: bool = False,
        wrong: Mapping[str, str] | None = None,
    ) -> T:
        """The struct with these fields.

        Args:
            values: by wire name; changed here. Texts are trimmed, secrets are not.
            variables: the path's, in their order; they win over `values`.
            text: scalars are texts, so that ``"5"`` is a number.
            wrong: what is known to be wrong already, by field.

        Raises:
            CairnError: ``api.invalid-field`` with every field that does not fit.
        """
        if variables:
            values.update(zip(self.variables, variables, strict=True))
        huge = False
        for name, value in values.items():
            if type(value) is str:
                if name in self._trimmed:
                    values[name] = value.strip()
            elif type(value) is int and not _is_storable(value):
                huge = True
        reason = ""
        if not wrong and not huge and TAG_FIELD not in values:
            try:
                return msgspec.convert(values, self.struct, strict=not text)
            except msgspec.ValidationError as error:
                reason = f"{error}."
        raise self.refused({**self._wrong(values, text), **(wrong or {})}, reason)

    def refused(self, wrong: Mapping[str, str], reason: str = "") -> CairnError:
        """The error for these wrong fields, or for `reason` if there are none."""
        lines = [
            f"{name}: {sentence}".removesuffix(".") + ("" if sentence.endswith("?") else ".")
            for name, sentence in list(wrong.items())[:10]
        ] or [reason]
        told = f" {lines[0]}" if len(lines) == 1 else "".join(f"\n{line}" for line in lines)
        return CairnError(
            "api.invalid-field",
            f"{self.name} was refused, and nothing was done.{told}",
            fields=dict(wrong),
            details={"api": self.name},
        )

    def unknown(self, name: str) -> str:
        """The sentence about a field that does not exist."""
        near = nearest(name, self.params)
        if near:
            return f"unknown; did you mean {near}?"
        names = ", ".join(self.params)
        return f"unknown; the fields of {self.name} are {names}" if names else f"unknown; {self.name} has no fields"

    def _wrong(self, values: Mapping[str, object], text: bool) -> dict[str, str]:
        wrong = {
            name: f"{found(value)}; {fits(self.params[name].type)}, of at most 64 bits"
            for name, value in values.items()
            if type(value) is int and not _is_storable(value) and name in self.params
        }
        for name, sentence in wrong_fields(self.struct, values, text=text):
            wrong[name] = sentence if name in self.params or "." in name or "[" in name else self.unknown(name)
        return wrong

    def _put(self, values: dict[str, object], wrong: dict[str, str], name: str, value: str) -> None:
        param = self.params.get(name)
        base, dot, rest = name.partition(".")
        holder = self.params.get(base) if dot else None
        if param is not None and param.many:
            _list_of(values, name).append(value)
        elif param is not None and name in values:
            wrong[name] = f"given twice; {fits(param.type)}"
        elif param is not None:
            values[name] = value
        elif holder is not None and holder.many and _INDEX.fullmatch(rest):
            _list_of(values, base).append(value)
        elif holder is not None and holder.table and rest:
            table = values.setdefault(base, {})
            if isinstance(table, dict):
                table[rest] = value
        else:
            wrong[name] = self.unknown(name)


def _is_storable(value: int) -> bool:
    return -_MAX_INT <= value < _MAX_INT


@cache
def _params(struct: type[Struct]) -> tuple[Param, ...]:
    return tuple(_param(field) for field in msgspec.structs.fields(struct))


def _param(field: msgspec.structs.FieldInfo) -> Param:
    refers = (marker.entity for marker in markers(field.type) if isinstance(marker, Refers))
    return Param(
        name=field.name,
        wire=field.encode_name,
        type=field.type,
        required=field.default is NODEFAULT and field.default_factory is NODEFAULT,
        default=_default(field),
        refers=next(refers, None),
        secret=is_secret(field.type),
        many=_is(field.type, list),
        table=_is(field.type, dict),
    )


def _default(field: msgspec.structs.FieldInfo) -> object:
    if field.default is not NODEFAULT:
        return field.default
    return None if field.default_factory is NODEFAULT else field.default_factory()


def _is(type_: object, kind: type) -> bool:
    """Whether the type is a `kind`: marked or not, alone or beside None."""
    origin = get_origin(type_)
    if type_ is kind or origin is kind:
        return True
    return origin not in (list, dict) and any(_is(one, kind) for one in get_args(type_))


def _list_of(values: dict[str, object], name: str) -> list[object]:
    there = values.setdefault(name, [])
    assert isinstance(there, list)
    return there
