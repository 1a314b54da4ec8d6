"""Turns ``key=value`` words into the parameters of an API: typed, checked, with names for uuids."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol, cast

import msgspec

from cairn.cli.client import Json
from cairn.cli.errors import CliError, usage
from cairn.cli.schema import Api, Param, Schema, nearest

_UUID: Final = re.compile(r"[0-9a-f]{32}")
_KEY: Final = re.compile(r"([A-Za-z][A-Za-z0-9]*)((?:\.[^=]+)?)=(.*)", re.DOTALL)
_SIZE: Final = re.compile(r"([0-9]+)(?:([KMGTP])(?:i?B)?|B)?", re.IGNORECASE)
_SHIFTS: Final = {"K": 10, "M": 20, "G": 30, "T": 40, "P": 50}
_YES: Final = ("true", "yes", "on", "1")
_NO: Final = ("false", "no", "off", "0")


class Resolver(Protocol):
    """Finds uuids by names."""

    def __call__(self, entity: str, name: str) -> str:
        """The uuid of the only `entity` of that name (usage error with the candidates otherwise)."""


def read_file(name: str) -> str:
    """The text of a file, ``-`` for the standard input (usage error when it cannot be read)."""
    try:
        return sys.stdin.read() if name == "-" else Path(name).expanduser().read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or "it is not text"
        raise usage(f"The file {name} cannot be read: {why}.", code="cli.no-file") from error


class Values:
    """Reads the words of one call.

    Args:
        schema: for what uuids refer to.
        api: what is called.
        resolve: finds uuids by names.
        read: reads the file behind ``@``.
    """

    def __init__(self, schema: Schema, api: Api, resolve: Resolver, read: Callable[[str], str] = read_file) -> None:
        self._schema = schema
        self._api = api
        self._resolve = resolve
        self._read = read
        self._wrong: dict[str, str] = {}

    def parse(self, words: Sequence[str]) -> Json:
        """The parameters by name. A word without ``=`` is the parameter in the API's path: ``cairn stop-vm-instance web``.

        Raises:
            CliError: exit code 2, with every word that does not fit, and every parameter that is missing.
        """
        given: Json = {}
        for word in words:
            self._take(word, given)
        for param in self._api.params:
            if param.required and param.name not in given and param.name not in self._wrong:
                self._wrong[param.name] = f"is missing; {_fits(param)}"
        if self._wrong:
            lines = [
                f"{name}: {sentence}{'' if sentence.endswith('?') else '.'}" for name, sentence in self._wrong.items()
            ]
            told = lines[0] if len(lines) == 1 else f"{len(lines)} parameters of {self._api.cli_name} do not fit."
            more = "" if len(lines) == 1 else "".join(f"\n{line}" for line in lines)
            raise usage(
                f"{told} cairn help {self._api.cli_name} shows all parameters.{more}",
                code="cli.wrong-parameter",
                fields=self._wrong,
            )
        return given

    def _take(self, word: str, given: Json) -> None:
        match = _KEY.fullmatch(word)
        if match is None:
            places = [param for param in self._api.params if param.in_path and param.name not in given]
            if not places or "=" in word:
                self._wrong[word] = "has no parameter's name before it; key=value would fit"
                return
            key, below, text = places[0].name, "", word
        else:
            key, below, text = match.groups()
        param = self._api.param(key)
        if param is None:
            near = nearest(key, [one.name for one in self._api.params])
            self._wrong[key] = f"there is no such parameter.{near}".removesuffix(".")
            return
        try:
            self._put(given, param, below.removeprefix("."), self._content(text))
        except CliError as error:
            self._wrong[key] = error.problem.detail.removesuffix(".")

    def _content(self, text: str) -> str:
        if text.startswith("@@"):
            return text[1:]
        return self._read(text[1:]) if text.startswith("@") else text

    def _put(self, given: Json, param: Param, below: str, text: str) -> None:
        if below:
            holder = cast("Json", given.setdefault(param.name, {}))
            holder[below] = self._inside(param, below, text)
        elif param.many:
            there = cast("list[object]", given.setdefault(param.name, []))
            there.extend(self._list(param, text))
        elif param.name in given:
            raise usage("is given twice.")
        else:
            given[param.name] = self._one(param, text)

    def _list(self, param: Param, text: str) -> list[object]:
        if param.type in ("object", "map", "any"):
            value = _json(text)
            return value if isinstance(value, list) else [value]
        # A tag may hold commas, and is one value: hostname::web; other lists are cut at them.
        parts = [text] if param.type == "text" and "::" in text else text.split(",")
        return [self._one(param, part.strip()) for part in parts if part.strip()]

    def _inside(self, param: Param, below: str, text: str) -> object:
        if param.type == "map":
            return text.split(",") if "each a list" in param.fits else text
        field = next((one for one in param.fields if one.name == below), None)
        if field is None:
            raise usage(f"has no field {below}.{nearest(below, [one.name for one in param.fields])}")
        return self._list(field, text) if field.many else self._one(field, text)

    def _one(self, param: Param, text: str) -> object:
        entity = self._schema.referred(self._api, param)
        if param.type == "uuid" and entity is not None and not _UUID.fullmatch(text):
            return self._resolve(entity, text)
        return value_of(param, text)


def value_of(param: Param, text: str) -> object:
    """`text` as the type of `param` (usage error with what would fit)."""
    match param.type:
        case "boolean" if text.lower() in (*_YES, *_NO):
            return text.lower() in _YES
        case "integer" if param.is_bytes and _SIZE.fullmatch(text):
            return size_of(text)
        case "integer" if re.fullmatch(r"-?[0-9]+", text):
            return int(text)
        case "number":
            try:
                return float(text)
            except ValueError:
                raise _unfit(param, text) from None
        case "enum":
            for choice in param.enum:
                if choice.lower() == text.lower():
                    # A literal of the API may be a number: ipVersion=4.
                    return int(choice) if isinstance(param.default, int) and choice.isdigit() else choice
            raise _unfit(param, text)
        case "map" | "object" | "any":
            return _json(text)
        case "boolean" | "integer":
            raise _unfit(param, text)
        case _:
            return text


def size_of(text: str) -> int | None:
    """The bytes in ``128M`` (K, M, G, T and P are powers of 1024); None if it is not a size."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        return None
    return int(match[1]) << _SHIFTS.get((match[2] or "").upper(), 0)


def _json(text: str) -> object:
    try:
        value: object = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise usage(f"found {text[:60]!r}; JSON would fit ({error}).") from error
    return value


def _unfit(param: Param, text: str) -> CliError:
    return usage(f"found {text[:60]!r}; {_fits(param)}.")


def _fits(param: Param) -> str:
    if param.is_bytes:
        return "a size such as 128M would fit"
    if param.enum:
        return f"one of {', '.join(param.enum)} would fit"
    return f"{param.fits or param.type} would fit"
