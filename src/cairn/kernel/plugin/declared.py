"""The checks of what packages declare, all together, before anything is built of it.

Each check raises with a sentence; `cairn.kernel.plugin.fault.sound` finds out whose mistake it is.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import TypeVar

from cairn.kernel.api import AnyApi, ApiCommand, ApiCreate
from cairn.kernel.bus.message import tag_of
from cairn.kernel.plugin.manifest import Loaded, Manifest
from cairn.kernel.query.catalog import Catalog, TagTables
from cairn.kernel.store.record import Record, info
from cairn.kernel.store.schema import Schema

T = TypeVar("T")
_VARIABLE = re.compile(r"\{[^}]*\}")


def check_declared(loaded: Loaded) -> None:
    """Refuse declarations that cannot work together.

    Tables and entities (with who may see them), settings, tags, workflows, steps and addresses of the API must each be there
    once. What a plugin does to a resource of others has to take its turn with all that is done to that resource.

    Raises:
        TypeError, CairnError: with a sentence that names what is declared twice or wrong.
    """
    _once("the setting", loaded.settings, lambda one: one.key)
    _once("the system tag", loaded.tags, lambda one: f"{one.pattern} of {one.entity}")
    _once("the workflow", loaded.workflows, lambda one: one.name)
    _once("the step", (step for manifest in loaded.manifests for step in manifest.steps), lambda one: one.name)
    _once("the address", loaded.api, _address)
    Catalog(Schema(loaded.records), TagTables())  # refuses an entity that does not say who may see it
    for manifest in loaded.manifests:
        if manifest.name in loaded.plugins:
            _check_turns(manifest, loaded.records)


def check_scripts(loaded: Loaded) -> None:
    """Refuse a plugin with a table that none of its migration scripts makes (TypeError)."""
    for manifest in loaded.manifests:
        if manifest.name in loaded.plugins:
            _check_scripts(manifest)


def _texts_in(folder: Path) -> set[str]:
    """The string literals of the scripts, however they are quoted: alembic writes other quotes than formatters do."""
    return {
        node.value
        for file in folder.glob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), filename=str(file)))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def _once(what: str, things: Iterable[T], key: Callable[[T], Hashable]) -> None:
    seen: set[Hashable] = set()
    for thing in things:
        name = key(thing)
        if name in seen:
            raise TypeError(f"{what} {name} is declared twice")
        seen.add(name)


def _address(api: type[AnyApi]) -> str:
    """What tells one API from another; the names of a path's variables do not."""
    key = f" {api.http.key}" if api.http.verb == "PUT" else ""
    return f"{api.http.verb} {_VARIABLE.sub('{}', api.http.path)}{key}"


def _check_turns(manifest: Manifest, records: Iterable[type[Record]]) -> None:
    """A call about another's resource in a queue of its own would run into the middle of that resource's workflows."""
    others = {one.meta.entity: info(one).noun for one in records if one not in manifest.contents.records}
    queues = {one.message: one.queue for one in manifest.contents.workflows}
    for call in manifest.contents.api:
        if not issubclass(call, ApiCommand) or issubclass(call, ApiCreate) or call.route is None:
            continue
        noun = others.get(call.entity) if call.entity else None
        if noun is None or (not call.takes_turn and call not in queues):
            continue
        queue = queues.get(call, tag_of(call).partition(".")[0])
        if queue != noun:
            raise TypeError(
                f"the call {call.__name__} is about {call.entity}, and takes its turn among `{queue}`, where nothing else that "
                f"is done to that resource does. Let its tag begin with `{noun}.`"
            )


def _check_scripts(manifest: Manifest) -> None:
    """A table that no migration makes would be missed at the first call only."""
    if not manifest.records:
        return
    said = set() if manifest.migrations is None else _texts_in(manifest.migrations)
    missing = [record.meta.table for record in manifest.records if record.meta.table not in said]
    if missing:
        raise TypeError(
            f"no script in its folder migrations/versions makes the table {', '.join(missing)}: "
            "`cairn migrations revision` writes one"
        )
