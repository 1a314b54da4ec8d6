"""``GET /v1/openapi.json``: OpenAPI 3.1, from the message classes and the schema of queries."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import metadata as distributions
from typing import Final, cast

import msgspec

from cairn.gateway.binding import ApiBinding
from cairn.gateway.commands import LONGEST_WAIT_SECONDS, Accepted, JobView
from cairn.gateway.docs import class_doc, field_docs
from cairn.gateway.metadata import Metadata
from cairn.gateway.problem import Problem
from cairn.gateway.queries import Asked
from cairn.kernel.api import Access, ApiCommand, Reference
from cairn.kernel.bus.message import TAG_FIELD, answer_type
from cairn.kernel.query.describe import EntityDescription, FieldDescription

Schema = dict[str, object]
_VARIABLE: Final = re.compile(r"\{[^}]*\}")
_REF: Final = "#/components/schemas/{name}"
_KINDS: Final[Mapping[str, Schema]] = {
    "id": {"type": "string"},
    "text": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "time": {"type": "string", "format": "date-time"},
    "enum": {"type": "string"},
    "bytes": {"type": "string", "contentEncoding": "base64"},
    "json": {},
}
_PROBLEM: Final[Schema] = {
    "description": "It was refused, or it failed; `code` says why.",
    "content": {"application/problem+json": {"schema": {"$ref": _REF.format(name="Problem")}}},
}
_INTRODUCTION: Final = (
    "Calls that change something are answered 202 with a job (`GET /v1/api-jobs/{uuid}?wait=30`), or, with the header "
    "`Prefer: wait=N`, with their result. The header `X-Job-UUID` makes them safe to repeat. Errors are problem+json "
    "(RFC 9457) with a stable `code`. Times are ISO 8601, UTC."
)


def openapi(metadata: Metadata) -> bytes:
    """The description as JSON."""
    names, schemas = _components(metadata)
    paths = _Paths()
    for binding in metadata.bindings:
        _add_api(paths, binding, names, schemas[names[binding.cls]])
    for name, entity in metadata.entities.items():
        schemas[f"{name}Inventory"] = _inventory(entity)
        _add_collection(paths, f"/v1{metadata.paths[name]}", entity)
    _add_jobs(paths)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": "cairn", "version": _version(), "description": _INTRODUCTION},
            "servers": [{"url": "/"}],
            "security": [{"session": []}],
            "paths": dict(sorted(paths.items.items())),
            "components": {
                "schemas": dict(sorted(schemas.items())),
                "securitySchemes": {
                    "session": {"type": "http", "scheme": "bearer", "description": "The session's uuid."}
                },
            },
        }
    )


def _version() -> str:
    try:
        return distributions.version("cairn-cloud")
    except distributions.PackageNotFoundError:
        return "0"


class _Paths:
    """Operations by path and verb. Paths that differ only in the names of variables are one path, as when served."""

    def __init__(self) -> None:
        self.items: dict[str, Schema] = {}
        self._by_shape: dict[str, str] = {}

    def item(self, path: str) -> tuple[Schema, list[str]]:
        """The operations of a path, and the names of its variables."""
        known = self._by_shape.setdefault(_VARIABLE.sub("{}", path), path)
        return self.items.setdefault(known, {}), [name[1:-1] for name in _VARIABLE.findall(known)]


def _components(metadata: Metadata) -> tuple[dict[type, str], dict[str, Schema]]:
    """The name of each type's schema, and the schemas of these and of all that they need, by name."""
    answers = [answer for binding in metadata.bindings if (answer := _answer(binding)) is not None]
    types: list[type] = list(
        dict.fromkeys([*(binding.cls for binding in metadata.bindings), *answers, Accepted, JobView, Problem])
    )
    references, made = msgspec.json.schema_components(types, ref_template=_REF)
    names = {type_: str(one["$ref"]).rpartition("/")[2] for type_, one in zip(types, references, strict=True)}
    schemas = cast("dict[str, Schema]", made)
    for binding in metadata.bindings:
        _tidy(schemas[names[binding.cls]], binding)
    return names, schemas


def _tidy(schema: Schema, binding: ApiBinding) -> None:
    """Turn a message's schema into a body's: without the tag and the path's variables, with the fields' descriptions."""
    gone = {TAG_FIELD, *binding.variables}
    properties = cast("dict[str, Schema]", schema["properties"])
    docs = field_docs(binding.cls)
    for param in binding.params.values():
        said = docs.get(param.name)
        if said:
            properties[param.wire] = {**properties[param.wire], "description": said}
        if param.secret:
            properties[param.wire] = {**properties[param.wire], "writeOnly": True}
    schema["properties"] = {name: value for name, value in properties.items() if name not in gone}
    schema["required"] = [name for name in cast("Sequence[str]", schema.get("required", ())) if name not in gone]


def _add_api(paths: _Paths, binding: ApiBinding, names: Mapping[type, str], schema: Schema) -> None:
    item, variables = paths.item(f"/v1{binding.http.path}")
    verb = binding.http.verb.lower()
    body = _body(binding, names[binding.cls])
    if verb in item:
        _add_action(cast("Schema", item[verb]), binding, body)
        return
    parameters: list[Schema] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in variables
    ]
    operation: Schema = {
        "operationId": binding.name,
        "summary": _first_sentence(class_doc(binding.cls)),
        "description": class_doc(binding.cls),
        "tags": [binding.http.path.split("/")[1]],
        "parameters": parameters,
        "responses": _responses(binding, names),
    }
    if binding.access is Access.ANYBODY:
        operation["security"] = []
    if binding.has_body:
        operation["requestBody"] = {"content": {"application/json": {"schema": body}}}
    else:
        properties = cast("dict[str, Schema]", schema["properties"])
        required = cast("Sequence[str]", schema["required"])
        parameters += [
            {"name": name, "in": "query", "required": name in required, "schema": one}
            for name, one in properties.items()
        ]
    item[verb] = operation


def _add_action(operation: Schema, binding: ApiBinding, body: Schema) -> None:
    """OpenAPI knows one operation for a path and verb: its body is one of several."""
    operation["operationId"] = f"{operation['operationId']}_{binding.name}"
    operation["summary"] = f"{operation['summary']} / {_first_sentence(class_doc(binding.cls))}"
    operation["description"] = f"{operation['description']}\n\n{binding.name}: {class_doc(binding.cls)}"
    content = cast("dict[str, dict[str, Schema]]", cast("Schema", operation["requestBody"])["content"])
    there = content["application/json"]["schema"]
    several = cast("list[Schema]", there["oneOf"]) if "oneOf" in there else [there]
    content["application/json"]["schema"] = {"oneOf": [*several, body]}


def _body(binding: ApiBinding, name: str) -> Schema:
    key = binding.key
    return {
        "type": "object",
        "title": f"{binding.name}Body",
        "properties": {key: {"$ref": _REF.format(name=name)}},
        "required": [key],
    }


def _responses(binding: ApiBinding, names: Mapping[type, str]) -> Schema:
    done = {"description": "The result.", "content": {"application/json": {"schema": _result(binding, names)}}}
    if not binding.is_command:
        return {"200": done, "default": _PROBLEM}
    accepted = {
        "description": "It is a job now, and will end.",
        "headers": {"Location": {"schema": {"type": "string"}}},
        "content": {"application/json": {"schema": {"$ref": _REF.format(name="Accepted")}}},
    }
    return {
        "202": accepted,
        "200": {**done, "description": "The result: with `Prefer: wait`, or when nothing had to be done."},
        "default": _PROBLEM,
    }


def _result(binding: ApiBinding, names: Mapping[type, str]) -> Schema:
    answer = _answer(binding)
    if answer is None:
        return {"type": "object"}
    entity = binding.cls.entity if issubclass(binding.cls, ApiCommand) else None
    if entity is not None and answer is Reference:
        return {"type": "object", "properties": {"inventory": {"$ref": _REF.format(name=f"{entity}Inventory")}}}
    return {"$ref": _REF.format(name=names[answer])}


def _answer(binding: ApiBinding) -> type | None:
    answer = answer_type(binding.cls)
    return answer if isinstance(answer, type) and issubclass(answer, msgspec.Struct) else None


def _inventory(entity: EntityDescription) -> Schema:
    properties = {field.name: _field(field) for field in entity.fields if field.shown}
    for join in entity.joins:
        if join.nested:
            shown: Schema = {"$ref": _REF.format(name=f"{join.entity}Inventory")}
            one: Schema = {"anyOf": [shown, {"type": "null"}]}
            properties[join.name] = {"type": "array", "items": shown} if join.many else one
    return {"type": "object", "title": f"{entity.name}Inventory", "description": entity.doc, "properties": properties}


def _field(field: FieldDescription) -> Schema:
    schema: Schema = dict(_KINDS[field.kind])
    if field.choices:
        schema["enum"] = list(field.choices)
    if field.nullable and "type" in schema and not field.many:
        schema["type"] = [schema["type"], "null"]
        if field.choices:
            schema["enum"] = [*field.choices, None]
    if field.many:
        schema = {"type": "array", "items": schema}
    said = f"{field.doc} ({field.unit})" if field.unit else field.doc
    return {**schema, "description": said} if said else schema


def _add_collection(paths: _Paths, path: str, entity: EntityDescription) -> None:
    page: Schema = {
        "type": "object",
        "properties": {
            "inventories": {"type": "array", "items": {"$ref": _REF.format(name=f"{entity.name}Inventory")}},
            "total": {"type": "integer"},
        },
    }
    found = {"description": "What fits.", "content": {"application/json": {"schema": page}}}
    operation: Schema = {
        "tags": [path.split("/")[2]],
        "responses": {"200": found, "default": _PROBLEM},
    }
    docs = field_docs(Asked)
    properties = cast("dict[str, Schema]", msgspec.json.schema_components([Asked])[1]["Asked"]["properties"])
    names = {field.encode_name: field.name for field in msgspec.structs.fields(Asked)}
    parameters = [
        {"name": name, "in": "query", "description": docs.get(names[name], ""), "schema": schema}
        for name, schema in properties.items()
    ]
    paths.item(path)[0]["get"] = {
        **operation,
        "operationId": f"Query{entity.name}",
        "summary": f"Query: {_first_sentence(entity.doc)}",
        "parameters": parameters,
    }
    item, variables = paths.item(f"{path}/{{uuid}}")
    one = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in variables]
    item["get"] = {
        **operation,
        "operationId": f"Get{entity.name}",
        "summary": f"One: {_first_sentence(entity.doc)}",
        "parameters": one,
    }


def _add_jobs(paths: _Paths) -> None:
    uuid = {"name": "uuid", "in": "path", "required": True, "schema": {"type": "string"}}
    seconds = {"type": "number", "minimum": 0, "maximum": LONGEST_WAIT_SECONDS, "default": 0}
    wait = {"name": "wait", "in": "query", "description": "seconds to wait for its end", "schema": seconds}
    shown = {"application/json": {"schema": {"$ref": _REF.format(name="JobView")}}}
    found = {"200": {"description": "The job.", "content": shown}, "default": _PROBLEM}
    paths.items["/v1/api-jobs/{uuid}"] = {
        "get": {
            "operationId": "GetApiJob",
            "summary": "How a job stands.",
            "tags": ["api-jobs"],
            "parameters": [uuid, wait],
            "responses": found,
        },
        "delete": {
            "operationId": "CancelApiJob",
            "summary": "Ask a job to end, with what it did undone.",
            "tags": ["api-jobs"],
            "parameters": [uuid],
            "responses": found,
        },
    }


def _first_sentence(text: str) -> str:
    line = " ".join(text.split("\n\n", 1)[0].split())
    return f"{line.split('. ', 1)[0].rstrip('.')}." if line else ""
