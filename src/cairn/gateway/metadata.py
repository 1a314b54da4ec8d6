"""``GET /v1/schema``: all APIs, entities and settings; completion, the UI's forms and the API's description are made of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from msgspec import NODEFAULT, Struct, inspect

from cairn.gateway.binding import ApiBinding
from cairn.gateway.docs import class_doc, field_docs
from cairn.gateway.shape import Param
from cairn.gateway.words import fits
from cairn.kernel.api import ApiCommand, command_name
from cairn.kernel.config import AnySetting
from cairn.kernel.query.describe import EntityDescription, FieldDescription, JoinDescription


class ParamView(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A parameter of an API, or a field of an object inside one."""

    name: str
    type: str  #: text, uuid, integer, number, boolean, enum, time, map, object, any
    required: bool
    doc: str = ""
    fits: str = ""  #: the values that would fit, in words
    many: bool = False  #: a list of that type
    enum: tuple[str, ...] = ()
    default: object = None
    refers: str | None = None  #: the entity that it names
    secret: bool = False
    in_path: bool = False
    fields: tuple[ParamView, ...] = ()  #: of an object


class ApiView(Struct, frozen=True, kw_only=True, rename="camel"):
    """An API with its parameters."""

    name: str
    cli_name: str
    doc: str
    verb: str
    path: str  #: with its version's prefix
    key: str | None  #: of the body, for its parameters
    is_job: bool  #: answered 202, with a job
    access: str
    entity: str | None  #: the entity of the inventory that it answers with
    params: tuple[ParamView, ...]


class EntityView(Struct, frozen=True, kw_only=True, rename="camel"):
    """An entity with its fields and joins."""

    name: str
    doc: str
    path: str  #: of its collection, with its version's prefix
    key: str
    parent: str | None
    type_field: str | None
    subtypes: dict[str, str]
    owned: bool  #: an account sees only its own
    admin_only: bool  #: for accounts it does not exist
    columns: tuple[str, ...]  #: the default fields of a list
    fields: tuple[FieldDescription, ...]
    joins: tuple[JoinDescription, ...]


class SettingView(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A setting of the global configuration."""

    category: str
    name: str
    doc: str
    type: str
    default: int | float | bool | str
    unit: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()


class SchemaView(Struct, frozen=True, kw_only=True):
    """The whole schema: APIs, entities and settings."""

    version: str
    apis: tuple[ApiView, ...]
    entities: tuple[EntityView, ...]
    settings: tuple[SettingView, ...]


class Metadata:
    """The source of the schema and of the API's description; worked out when first asked for, then kept."""

    def __init__(
        self,
        bindings: Sequence[ApiBinding],
        entities: Mapping[str, EntityDescription],
        paths: Mapping[str, str],
        settings: Iterable[AnySetting],
    ) -> None:
        self.bindings = bindings
        self.entities = entities
        self.paths = paths
        self._settings = list(settings)
        self._body: bytes | None = None

    def body(self) -> bytes:
        """The schema as JSON, encoded once."""
        if self._body is None:
            self._body = msgspec.json.encode(self.view())
        return self._body

    def view(self) -> SchemaView:
        """The schema as the API shows it."""
        return SchemaView(
            version="v1",
            apis=tuple(map(_api, self.bindings)),
            entities=tuple(_entity(entity, self.paths[name]) for name, entity in self.entities.items()),
            settings=tuple(map(_setting, self._settings)),
        )


def _api(binding: ApiBinding) -> ApiView:
    docs = field_docs(binding.cls)
    return ApiView(
        name=binding.name,
        cli_name=command_name(binding.name),
        doc=class_doc(binding.cls),
        verb=binding.http.verb,
        path=f"/v1{binding.http.path}",
        key=binding.key if binding.has_body else None,
        is_job=binding.is_command,
        access=binding.access.value,
        entity=binding.cls.entity if issubclass(binding.cls, ApiCommand) else None,
        params=tuple(_param(param, binding, docs.get(param.name, "")) for param in binding.params.values()),
    )


def _param(param: Param, binding: ApiBinding, doc: str) -> ParamView:
    shown = _described(param.wire, param.type, doc, param.required, param.default)
    return msgspec.structs.replace(
        shown, refers=param.refers, secret=param.secret, in_path=param.wire in binding.variables
    )


def _described(name: str, type_: object, doc: str, required: bool, default: object) -> ParamView:
    kind = _bare(inspect.type_info(type_))
    many = isinstance(kind, inspect.ListType)
    if isinstance(kind, inspect.ListType):
        kind = _bare(kind.item_type)
    word, choices = _word(kind)
    return ParamView(
        name=name,
        type=word,
        required=required,
        doc=doc,
        fits=fits(type_).removesuffix(" would fit"),
        many=many,
        enum=choices,
        default=msgspec.to_builtins(default),
        fields=_fields(kind) if isinstance(kind, inspect.StructType) else (),
    )


def _fields(kind: inspect.StructType) -> tuple[ParamView, ...]:
    docs = field_docs(kind.cls)
    types = {field.name: field.type for field in msgspec.structs.fields(kind.cls)}
    return tuple(
        _described(
            field.encode_name,
            types[field.name],
            docs.get(field.name, ""),
            field.required,
            field.default if field.default is not NODEFAULT else None,
        )
        for field in kind.fields
    )


def _bare(kind: inspect.Type) -> inspect.Type:
    """The type without its annotations and without null."""
    while True:
        if isinstance(kind, inspect.Metadata):
            kind = kind.type
        elif isinstance(kind, inspect.UnionType):
            rest = [one for one in kind.types if not isinstance(one, inspect.NoneType)]
            if len(rest) != 1:
                return kind
            kind = rest[0]
        else:
            return kind


def _word(kind: inspect.Type) -> tuple[str, tuple[str, ...]]:
    """The type in one word, and its choices."""
    match kind:
        case inspect.StrType(pattern=str(pattern)) if "0-9a-f" in pattern:
            return "uuid", ()
        case inspect.StrType():
            return "text", ()
        case inspect.BoolType():
            return "boolean", ()
        case inspect.IntType():
            return "integer", ()
        case inspect.FloatType():
            return "number", ()
        case inspect.EnumType():
            return "enum", tuple(str(member.value) for member in kind.cls)
        case inspect.LiteralType():
            return "enum", tuple(map(str, kind.values))
        case inspect.DateTimeType():
            return "time", ()
        case inspect.DictType():
            return "map", ()
        case inspect.StructType():
            return "object", ()
        case _:
            return "any", ()


def _entity(entity: EntityDescription, path: str) -> EntityView:
    return EntityView(
        name=entity.name,
        doc=entity.doc,
        path=f"/v1{path}",
        key=entity.key,
        parent=entity.parent,
        type_field=entity.type_field,
        subtypes=entity.subtypes,
        owned=entity.owned,
        admin_only=entity.admin_only,
        columns=entity.columns,
        fields=entity.fields,
        joins=entity.joins,
    )


def _setting(setting: AnySetting) -> SettingView:
    names = {bool: "boolean", int: "integer", float: "number", str: "text"}
    return SettingView(
        category=setting.category,
        name=setting.name,
        doc=setting.doc,
        type=names[type(setting.default)],
        default=setting.default,
        unit=setting.unit,
        minimum=setting.minimum,
        maximum=setting.maximum,
        choices=setting.choices,
    )
