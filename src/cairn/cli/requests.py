"""Turns the parameters of an API into the request that carries them."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import msgspec

from cairn.cli.client import Json, Request
from cairn.cli.schema import Api

_HIDDEN = "********"


def build(api: Api, values: Json) -> Request:
    """The request that calls `api` with these parameters; those in its path have to be among them."""
    path, rest = api.path, dict(values)
    for param in api.params:
        if param.in_path and param.name in rest:
            path = path.replace(f"{{{param.name}}}", quote(str(rest.pop(param.name)), safe=""))
    if api.verb in ("GET", "DELETE"):
        return Request(verb=api.verb, path=path, query=tuple(_query(rest)))
    return Request(verb=api.verb, path=path, body={api.key or "params": rest})


def shown(api: Api, request: Request) -> Request:
    """The request with its secrets hidden, to be shown."""
    secrets = {param.name for param in api.params if param.secret}
    body = None
    if request.body is not None:
        body = {key: _masked(value, secrets) for key, value in request.body.items()}
    query = tuple((key, _HIDDEN if key in secrets else value) for key, value in request.query)
    return msgspec.structs.replace(request, query=query, body=body)


def _masked(value: object, secrets: set[str]) -> object:
    if not isinstance(value, dict):
        return value
    return {key: _HIDDEN if key in secrets else inner for key, inner in value.items()}


def _query(values: Json) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, list):
            yield from ((key, _text(one)) for one in value)
        elif isinstance(value, dict):
            yield from ((f"{key}.{name}", _text(one)) for name, one in value.items())
        else:
            yield key, _text(value)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
