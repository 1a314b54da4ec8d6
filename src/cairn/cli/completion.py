"""Finds what could come next on a command line: APIs, parameters, values, fields and joins hop by hop, names of resources.

Pure: words in, candidates out. Knowledge of a node comes in as a schema and a function that looks names up; both may be
missing, and then there is simply less to offer. The shell and the scripts for bash, zsh and fish use the same class.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct

from cairn.cli.client import Json
from cairn.cli.schema import Api, Entity, Param, Schema

_VALUE: Final = re.compile(r"([A-Za-z0-9_.]+?)(!\?=|!~=|!=|>=|<=|\?=|~=|=|>|<)(.*)", re.DOTALL)
_OPERATORS: Final = ("=", "!=", "~=", "!~=", "?=", "!?=", ">", ">=", "<", "<=")
_LISTS: Final = ("?=", "!?=")
_QUERY_WORDS: Final = ("fields=", "sort=", "limit=", "start=")
_API_OPTIONS: Final = ("--wait", "--no-wait", "--timeout", "--quiet", "--dry-run", "--json", "--url", "--help")
_QUERY_OPTIONS: Final = ("--count", "--quiet", "--json", "--url", "--help")
#: Commands of which each argument is the name of a command or API.
_HELPERS: Final = ("help",)

#: entity -> its resources, as far as they are available quickly
Lookup = Callable[[str], Sequence[Json]]


class Candidate(Struct, frozen=True, kw_only=True):
    """A possible completion of the last word."""

    text: str
    about: str = ""
    is_final: bool = True  #: False: more follows without a space, as behind ``name=``


class Completer:
    """Completes the words of one command line.

    Args:
        commands: the commands, with what each does; ``lab up`` for commands of groups.
        schema: what the node can do; None when none answers.
        lookup: existing resources of an entity.
    """

    def __init__(self, commands: Mapping[str, str], schema: Schema | None, lookup: Lookup) -> None:
        self._commands = commands
        self._schema = schema or Schema()
        self._lookup = lookup

    def complete(self, words: Sequence[str]) -> list[Candidate]:
        """Candidates for the last of `words` (which may be empty), the command line without ``cairn``."""
        *before, last = words or [""]
        place = [word for word in before if not word.startswith("-")]
        if not place or place[0] in _HELPERS:
            found = self._names()
        elif place[0] == "query":
            found = self._query(place[1:], last)
        else:
            api = self._schema.api(place[0])
            found = self._group(place) if api is None else self._api(api, place[1:], last)
        unique = {one.text: one for one in found if one.text.startswith(last)}
        return list(unique.values())

    # -- commands ---------------------------------------------------------------------------------------------------

    def _names(self) -> Iterator[Candidate]:
        for name, about in self._commands.items():
            if " " not in name:
                yield Candidate(text=name, about=about)
        for api in self._schema.apis:
            yield Candidate(text=api.cli_name, about=_first(api.doc))

    def _group(self, place: Sequence[str]) -> Iterator[Candidate]:
        prefix = f"{place[0]} "
        if len(place) == 1:
            for name, about in self._commands.items():
                if name.startswith(prefix):
                    yield Candidate(text=name.removeprefix(prefix), about=about)

    # -- APIs -------------------------------------------------------------------------------------------------------

    def _api(self, api: Api, given: Sequence[str], last: str) -> Iterator[Candidate]:
        key, equals, value = last.partition("=")
        if equals:
            param = api.param(key.partition(".")[0])
            if param is not None:
                yield from self._values(api, param, f"{key}=", value)
            return
        used = {word.partition("=")[0] for word in given}
        for param in sorted(api.params, key=lambda param: not param.required):
            if param.name not in used or param.many:
                about = f"{'needed; ' if param.required else ''}{_first(param.doc) or param.type}"
                yield Candidate(text=f"{param.name}=", about=about, is_final=False)
        if last.startswith("-"):
            yield from (Candidate(text=option) for option in _API_OPTIONS)

    def _values(self, api: Api, param: Param, before: str, value: str) -> Iterator[Candidate]:
        start, comma, _ = value.rpartition(",")
        # In a list only the last part is completed.
        prefix = before + (start + comma if param.many else "")
        entity = self._schema.referred(api, param)
        if entity is not None:
            yield from self._resources(entity, prefix)
        for choice in ("true", "false") if param.type == "boolean" else param.enum:
            yield Candidate(text=prefix + choice)

    def _resources(self, entity: str, prefix: str) -> Iterator[Candidate]:
        found = self._lookup(entity)
        names = [str(one.get("name") or "") for one in found]
        for inventory, name in zip(found, names, strict=True):
            uuid = str(inventory.get("uuid", ""))
            state = str(inventory.get("state") or inventory.get("status") or "")
            # A name that is not unique, or that a shell would take apart, cannot stand for its resource.
            if name and names.count(name) == 1 and re.fullmatch(r"[\w.:@+-]+", name):
                yield Candidate(text=prefix + name, about=f"{state} {uuid}".strip())
            yield Candidate(text=prefix + uuid, about=f"{name} {state}".strip())

    # -- queries ----------------------------------------------------------------------------------------------------

    def _query(self, given: Sequence[str], last: str) -> Iterator[Candidate]:
        if not given:
            for entity in self._schema.entities:
                yield Candidate(text=entity.name, about=_first(entity.doc))
            return
        found = self._schema.entity(given[0])
        if found is None:
            return
        if last.startswith("-"):
            yield from (Candidate(text=option) for option in _QUERY_OPTIONS)
        elif last.startswith("fields="):
            yield from self._field_list(found, last)
        elif last.startswith("sort="):
            sign = last[5:6] if last[5:6] in ("+", "-") else ""
            yield from (Candidate(text=f"sort={sign}{field.name}", about=field.doc) for field in found.fields)
        else:
            yield from self._condition(found, last)

    def _field_list(self, entity: Entity, last: str) -> Iterator[Candidate]:
        start, comma, _ = last.removeprefix("fields=").rpartition(",")
        used = start.split(",")
        for field in entity.fields:
            if field.shown and field.name not in used:
                yield Candidate(text=f"fields={start}{comma}{field.name}", about=field.doc)
        yield from (
            Candidate(text=f"fields={start}{comma}{join.name}") for join in entity.joins if join.name not in used
        )

    def _condition(self, entity: Entity, last: str) -> Iterator[Candidate]:
        match = _VALUE.fullmatch(last)
        if match is not None:
            yield from self._condition_values(entity, match[1], match[2], match[3])
            return
        path, dot, word = last.rpartition(".")
        here = self._follow(entity, path.split(".") if path else [])
        if here is None:
            return
        for field in here.fields:
            if field.name == word:
                known = field.operators or _OPERATORS
                operators = [operator for operator in _OPERATORS if operator in known]
                yield from (Candidate(text=last + operator, is_final=False) for operator in operators)
            else:
                yield Candidate(text=f"{path}{dot}{field.name}", about=field.doc, is_final=False)
        for join in here.joins:
            yield Candidate(text=f"{path}{dot}{join.name}.", about=f"to {join.entity}", is_final=False)
        if not path:
            yield from (Candidate(text=word, is_final=False) for word in _QUERY_WORDS)

    def _condition_values(self, entity: Entity, path: str, operator: str, value: str) -> Iterator[Candidate]:
        field = self._schema.field_at(entity.name, path)
        if field is None:
            return
        start, comma, _ = value.rpartition(",")
        prefix = path + operator + (start + comma if operator in _LISTS else "")
        choices = ("true", "false") if field.kind == "bool" else field.choices
        yield from (Candidate(text=prefix + choice) for choice in choices)
        if field.name in ("name", "uuid"):
            here = self._follow(entity, path.split(".")[:-1])
            found = self._lookup(here.name) if here else ()
            for inventory in found:
                about = str(inventory.get("name") or "") if field.name == "uuid" else ""
                yield Candidate(text=f"{prefix}{inventory.get(field.name, '')}", about=about)

    def _follow(self, entity: Entity, hops: Sequence[str]) -> Entity | None:
        """The entity at the end of these joins."""
        here: Entity | None = entity
        for hop in hops:
            join = here.by_join.get(hop) if here else None
            here = self._schema.by_entity.get(join.entity) if join else None
        return here


def _first(doc: str) -> str:
    return doc.strip().partition("\n")[0].replace("`", "")
