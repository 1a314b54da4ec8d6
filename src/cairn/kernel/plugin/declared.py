"""The checks of what packages declare, all together, before anything is built of it.

Each check raises with a sentence; `cairn.kernel.plugin.fault.sound` finds out whose mistake it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

from cairn.kernel.api import AnyApi
from cairn.kernel.plugin.manifest import Loaded, Manifest
from cairn.kernel.query.catalog import Catalog, TagTables
from cairn.kernel.store.schema import Schema

T = TypeVar("T")
_VARIABLE = re.compile(r"\{[^}]*\}")


def check_declared(loaded: Loaded) -> None:
    """Refuse declarations that cannot work together.

    Tables and entities (with who may see them), settings, tags, workflows, steps and addresses of the API must each be there
    once.

    Raises:
        TypeError, CairnError: with a sentence that names what is declared twice or wrong.
    """
    _once("the setting", loaded.settings, lambda one: one.key)
    _once("the system tag", loaded.tags, lambda one: f"{one.pattern} of {one.entity}")
    _once("the workflow", loaded.workflows, lambda one: one.name)
    _once("the step", (step for manifest in loaded.manifests for step in manifest.steps), lambda one: one.name)
    _once("the address", loaded.api, _address)
    Catalog(Schema(loaded.records), TagTables())  # refuses an entity that does not say who may see it


def check_scripts(loaded: Loaded) -> None:
    """Refuse a plugin with a table that none of its migration scripts makes (TypeError)."""
    for manifest in loaded.manifests:
        if manifest.name in loaded.plugins:
            _check_scripts(manifest)


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


def _check_scripts(manifest: Manifest) -> None:
    """A table that no migration makes would be missed at the first call only."""
    if not manifest.records:
        return
    folder = manifest.migrations
    text = "" if folder is None else "\n".join(file.read_text(encoding="utf-8") for file in folder.glob("*.py"))
    missing = [record.meta.table for record in manifest.records if f'"{record.meta.table}"' not in text]
    if missing:
        raise TypeError(
            f"no script in its folder migrations/versions makes the table {', '.join(missing)}: "
            "`cairn migrations revision` writes one"
        )
