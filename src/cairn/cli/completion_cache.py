"""The memory of completion: it learns about a node quickly, or not at all. Pressing TAB must neither wait nor print errors."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from cairn.cli.client import Client, Json
from cairn.cli.errors import CliError
from cairn.cli.schema import Schema, decode

_PATIENCE_SECONDS = 0.7
_NAMES_SECONDS = 5.0
_SCHEMA_SECONDS = 300.0
_MOST = "200"


class CompletionCache:
    """The schema and the resources of a node, kept for a short time.

    Args:
        client: the node.
        folder: the schema is kept there between commands; None: only in memory.
        now: the time in seconds.
    """

    def __init__(self, client: Client, folder: Path | None, now: Callable[[], float] = time.time) -> None:
        self._client = client
        self._now = now
        digest = hashlib.sha256(client.url.encode()).hexdigest()[:16]
        self._file = None if folder is None else folder / f"schema-{digest}.json"
        self._schema: tuple[float, Schema] | None = None
        self._names: dict[str, tuple[float, Sequence[Json]]] = {}

    def schema(self) -> Schema | None:
        """The node's schema; None when it is not available quickly."""
        if self._schema is None or self._now() - self._schema[0] > _SCHEMA_SECONDS:
            found = self._kept() or self._asked()
            if found is not None:
                self._schema = (self._now(), found)
        return self._schema[1] if self._schema else None

    def resources(self, entity: str) -> Sequence[Json]:
        """Resources of an entity, the newest first; none when they are not available quickly."""
        kept = self._names.get(entity)
        if kept is not None and self._now() - kept[0] < _NAMES_SECONDS:
            return kept[1]
        found: Sequence[Json] = ()
        with suppress(CliError):
            options = [("limit", _MOST)]
            schema = self.schema()
            described = schema.by_entity.get(entity) if schema else None
            if described is not None and "createDate" in described.by_field:
                options.append(("sort", "-createDate"))
            found = self._client.query(entity, options=options, timeout_seconds=_PATIENCE_SECONDS).inventories
        self._names[entity] = (self._now(), found)
        return found

    def _kept(self) -> Schema | None:
        if self._file is None:
            return None
        try:
            if self._now() - self._file.stat().st_mtime > _SCHEMA_SECONDS:
                return None
            return decode(self._file.read_bytes())
        except (OSError, msgspec.MsgspecError):
            return None

    def _asked(self) -> Schema | None:
        try:
            body = self._client.http.request("GET", "/v1/schema", timeout_seconds=_PATIENCE_SECONDS).body
            found = decode(body)
        except (CliError, msgspec.MsgspecError):
            return None
        if self._file is not None:
            with suppress(OSError):
                self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                fresh = self._file.with_name(f"{self._file.name}.{os.getpid()}")
                fresh.write_bytes(body)
                fresh.replace(self._file)
        return found


def cache_dir(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the command line keeps what it can do without: ``$XDG_CACHE_HOME/cairn`` or ``~/.cache/cairn``."""
    base = environment.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "cairn"
