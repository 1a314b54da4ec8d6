"""Describes what an API takes, from the node's schema."""

from __future__ import annotations

from collections.abc import Iterator

from cairn.cli.schema import Api, Param, Schema

_INDENT = "      "


def reference(schema: Schema, api: Api) -> str:
    """The help text of an API."""
    words = [f"{param.name}=…" for param in api.params if param.required]
    lines = [f"Usage: cairn {api.cli_name} {' '.join(words)}{' [key=value …]' if _optional(api) else ''} [OPTIONS]", ""]
    lines += [_sentences(api.doc), ""] if api.doc else []
    needed = [param for param in api.params if param.required]
    for title, params in (("Needed", needed), ("Optional", _optional(api))):
        if params:
            lines += [f"{title}:"]
            lines += [line for param in params for line in _param(schema, api, param)]
            lines += [""]
    kind = "a job: it ends in success, or with everything undone" if api.is_job else "answered at once"
    lines += [f"{api.verb} {api.path} ({kind}; for {_whom(api)})", ""]
    return "\n".join(lines)


def options() -> str:
    """The options that all APIs share, for the end of `reference`."""
    return (
        "Values: sizes as 128M or 10G; lists with commas or repeated; @FILE reads a file (@- the standard input);\n"
        "names of resources stand for their uuids; objects and maps as key.field=value or JSON."
    )


def _optional(api: Api) -> list[Param]:
    return [param for param in api.params if not param.required]


def _param(schema: Schema, api: Api, param: Param) -> Iterator[str]:
    yield f"  {param.name}  {_type(schema, api, param)}"
    if param.doc:
        yield f"{_INDENT}{_sentences(param.doc)}"
    if param.default not in (None, [], {}, ""):
        yield f"{_INDENT}default: {_default(param)}"
    for field in param.fields:
        yield f"{_INDENT}.{field.name}  {_type(schema, api, field)}{'  (needed)' if field.required else ''}"


def _type(schema: Schema, api: Api, param: Param) -> str:
    entity = schema.referred(api, param)
    if entity is not None:
        word = f"uuid or name of {entity}"
    elif param.enum:
        word = " | ".join(param.enum)
    elif param.is_bytes:
        word = "size"
    else:
        word = param.fits or param.type
    if param.many and entity is not None:
        word = f"list of {word}"
    return f"{word} (secret)" if param.secret else word


def _default(param: Param) -> str:
    if isinstance(param.default, bool):
        return "true" if param.default else "false"
    return str(param.default)


def _sentences(doc: str) -> str:
    return doc.replace("``", "").replace("`", "")


def _whom(api: Api) -> str:
    return {"anybody": "anybody", "account": "any account", "admin": "the admin"}.get(api.access, "any account")
