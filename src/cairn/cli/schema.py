"""A node's APIs and entities, as it describes them (``GET /v1/schema``)."""

from __future__ import annotations

from difflib import get_close_matches
from functools import cached_property

import msgspec
from msgspec import Struct


class Param(Struct, frozen=True, kw_only=True, rename="camel"):
    """A parameter of an API, or a field of an object inside one."""

    name: str
    type: str
    required: bool = False
    doc: str = ""
    fits: str = ""
    many: bool = False
    enum: tuple[str, ...] = ()
    default: object = None
    refers: str | None = None
    secret: bool = False
    in_path: bool = False
    fields: tuple[Param, ...] = ()

    @property
    def is_bytes(self) -> bool:
        """Whether it is a size, which people write as 128M."""
        words = ("size", "bytes", "capacity")
        return self.type == "integer" and (self.doc.startswith("bytes") or self.name.lower().endswith(words))


class Api(Struct, frozen=True, kw_only=True, rename="camel"):
    """An API of the node: how it is called and what its command is named."""

    name: str
    cli_name: str
    doc: str = ""
    verb: str
    path: str
    key: str | None = None
    is_job: bool = False
    access: str = ""
    entity: str | None = None
    params: tuple[Param, ...] = ()

    def param(self, name: str) -> Param | None:
        """The parameter of that name."""
        return next((param for param in self.params if param.name == name), None)


class Field(Struct, frozen=True, kw_only=True):
    """A field of an entity, as queries may use it."""

    name: str
    kind: str = "text"
    doc: str = ""
    unit: str = ""
    choices: tuple[str, ...] = ()
    shown: bool = True
    operators: tuple[str, ...] = ()


class Join(Struct, frozen=True, kw_only=True):
    """A join from an entity to another."""

    name: str
    entity: str
    many: bool = False


class Entity(Struct, frozen=True, kw_only=True, rename="camel", dict=True):
    """A kind of resource: its fields, and the ways from it to others."""

    name: str
    doc: str = ""
    path: str
    key: str = "uuid"
    subtypes: dict[str, str] = {}
    columns: tuple[str, ...] = ()
    fields: tuple[Field, ...] = ()
    joins: tuple[Join, ...] = ()

    @cached_property
    def by_field(self) -> dict[str, Field]:
        """The entity's fields by name."""
        return {field.name: field for field in self.fields}

    @cached_property
    def by_join(self) -> dict[str, Join]:
        """The entity's joins by name."""
        return {join.name: join for join in self.joins}


class Schema(Struct, frozen=True, kw_only=True, dict=True):
    """All that a node can be asked for: its APIs and entities."""

    apis: tuple[Api, ...] = ()
    entities: tuple[Entity, ...] = ()

    @cached_property
    def by_command(self) -> dict[str, Api]:
        """APIs by their name on the command line: ``create-vm-instance``."""
        return {api.cli_name: api for api in self.apis}

    @cached_property
    def by_entity(self) -> dict[str, Entity]:
        """Entities by name: ``VmInstance``."""
        return {entity.name: entity for entity in self.entities}

    def api(self, name: str) -> Api | None:
        """The API that `name` means: ``create-vm-instance`` or ``CreateVmInstance``."""
        found = self.by_command.get(name)
        return found or next((api for api in self.apis if api.name == name), None)

    def entity(self, name: str) -> Entity | None:
        """The entity that `name` means: in any case, with or without dashes, singular or plural."""
        wanted = _plain(name)
        for entity in self.entities:
            plain = _plain(entity.name)
            if wanted in (plain, f"{plain}s", _plain(entity.path.rpartition("/")[2])):
                return entity
        return None

    def field_at(self, entity: str, path: str) -> Field | None:
        """The field at the end of a dotted path, ``vmNics.l3Network.name``."""
        *hops, last = path.split(".")
        here = self.by_entity.get(entity)
        for hop in hops:
            join = here.by_join.get(hop) if here else None
            here = self.by_entity.get(join.entity) if join else None
        return here.by_field.get(last) if here else None

    def referred(self, api: Api, param: Param) -> str | None:
        """The entity whose uuid `param` holds.

        A removal does not declare it, since the resource may be gone already; the path tells.
        """
        if param.refers is not None:
            return param.refers
        if not param.in_path:
            return None
        collection = api.path.partition(f"/{{{param.name}}}")[0]
        return next((entity.name for entity in self.entities if entity.path == collection), None)


def decode(body: bytes) -> Schema:
    """The schema in the answer of a node."""
    return msgspec.json.decode(body, type=Schema)


def nearest(word: str, known: list[str]) -> str:
    """A question for the end of a sentence; empty when nothing is near."""
    near = get_close_matches(word, known, n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(near)}?" if near else ""


def _plain(name: str) -> str:
    return name.replace("-", "").replace("_", "").lower()
