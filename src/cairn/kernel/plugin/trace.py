"""What plugins leave in the database: noted while they are there, so that it can be shown and removed when they are gone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from hashlib import blake2b
from typing import Annotated, ClassVar

from cairn.kernel.config import AnySetting
from cairn.kernel.plugin.manifest import Loaded, Manifest
from cairn.kernel.store.migrations import history_of
from cairn.kernel.store.record import Index, Key, Record, TableMeta, Text
from cairn.kernel.store.store import Store, Tx
from cairn.kernel.tag import TagDefinition


class TraceKind(StrEnum):
    """What kind of thing a plugin left."""

    TABLE = "table"
    ENTITY = "entity"  #: whose resources have rows in ``resource``
    SETTING = "setting"
    TAG = "tag"  #: ``<entity> <beginning of the tag>``
    SUBSCRIBER = "subscriber"
    HISTORY = "history"  #: the table with the revision of its migrations


class PluginTrace(Record, frozen=True, kw_only=True):
    """A thing in the database that belongs to a plugin."""

    meta: ClassVar[TableMeta] = TableMeta(table="plugin_trace")

    uuid: Annotated[str, Key()]
    plugin: Annotated[str, Index()]
    kind: TraceKind
    name: Annotated[str, Text(4096, exact=True)]


async def remember(store: Store, loaded: Loaded, subscribers: Mapping[str, Sequence[str]]) -> None:
    """Note what the plugins that are loaded have in the database. Writes only what has changed.

    Args:
        subscribers: the durable ones, by plugin.
    """
    wanted: dict[str, PluginTrace] = {}
    seen: set[int] = set()  # a setting or tag that is imported belongs to the package that was loaded first
    for manifest in loaded.manifests:
        own = manifest.contents
        settings = [one for one in own.settings if id(one) not in seen]
        tags = [one for one in own.tags if id(one) not in seen]
        seen.update(map(id, (*settings, *tags)))
        if manifest.name in loaded.plugins:
            found = _traces(manifest, settings, tags, subscribers.get(manifest.name, ()))
            wanted.update((trace.uuid, trace) for trace in found)
    present = {manifest.name for manifest in loaded.manifests}

    def differing(tx: Tx) -> tuple[list[str], list[PluginTrace]]:
        there = {trace.uuid: trace for trace in tx.find(PluginTrace)}
        stale = [uuid for uuid, trace in there.items() if trace.plugin in present and uuid not in wanted]
        return stale, [trace for uuid, trace in wanted.items() if uuid not in there]

    def fn(tx: Tx) -> None:
        stale, new = differing(tx)
        for uuid in stale:
            tx.delete(PluginTrace, uuid)
        for trace in new:
            tx.insert(trace)

    if await store.read(differing) != ([], []):
        await store.write(fn)


def kept_settings(tx: Tx, present: frozenset[str]) -> frozenset[str]:
    """The settings of plugins that are left out now: their values stay, for when these come back."""
    rows = tx.find(PluginTrace, kind=TraceKind.SETTING)
    return frozenset(row.name for row in rows if row.plugin not in present)


def _traces(
    manifest: Manifest, settings: Sequence[AnySetting], tags: Sequence[TagDefinition], subscribers: Sequence[str]
) -> Iterable[PluginTrace]:
    for record in manifest.records:
        yield _trace(manifest, TraceKind.TABLE, record.meta.table)
        if record.meta.entity is not None:
            yield _trace(manifest, TraceKind.ENTITY, record.meta.entity)
    for setting in settings:
        yield _trace(manifest, TraceKind.SETTING, setting.key)
    for tag in tags:
        yield _trace(manifest, TraceKind.TAG, f"{tag.entity} {tag.prefix}")
    for name in subscribers:
        yield _trace(manifest, TraceKind.SUBSCRIBER, name)
    if manifest.migrations is not None:
        yield _trace(manifest, TraceKind.HISTORY, history_of(manifest.migrations))


def _trace(manifest: Manifest, kind: TraceKind, name: str) -> PluginTrace:
    key = blake2b(f"{manifest.name} {kind.value} {name}".encode(), digest_size=16, person=b"cairn-trace")
    return PluginTrace(uuid=key.hexdigest(), plugin=manifest.name, kind=kind, name=name)
