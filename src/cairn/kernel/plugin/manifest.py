"""The manifest: a service's or plugin's declaration of itself, in one object.

Services of the core and all plugins come in by the same way. The declarations of a package's modules (records,
API messages, steps, settings, tags, workflows) are found by looking at them. `build` is called once per node, when the
kernel's parts are there; it makes the package's objects, hands each what its constructor asks for, and registers them.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from msgspec import Struct
from packaging.requirements import InvalidRequirement, Requirement

from cairn.kernel.api import AnyApi
from cairn.kernel.config import AnySetting
from cairn.kernel.flow.step import AnyStep
from cairn.kernel.flow.workflow import AnyWorkflow
from cairn.kernel.health import Audit
from cairn.kernel.plugin.contents import Contents, contents
from cairn.kernel.plugin.context import Background, NodeContext
from cairn.kernel.store.record import Record
from cairn.kernel.tag import TagDefinition

__all__ = ["Background", "LeftOut", "Loaded", "Manifest", "NodeContext"]

T = TypeVar("T")


def _nothing(node: NodeContext) -> None:
    """The default `build`, for a package that only declares."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A service or plugin: its package, its `build`, and its requirements.

    Args:
        package: its dotted name.
        doc: its purpose, in a sentence; empty: the docstring of its module ``manifest``.
        build: makes and registers its objects; returns those that its steps ask for.
        requires: other plugins that it cannot do without, each with the versions that fit if not all do:
            ``"vm"``, ``"audit>=1.2,<2"``, ``"cairn>=0.3"`` (cairn itself). It is left out when one of them is.
        name: in `requires` and ``CAIRN_PLUGINS_DISABLED``; empty: as the package's folder is called.
        version: its own, for the `requires` of others; empty: that of cairn, for what comes with it.
    """

    package: str
    doc: str = ""
    build: Callable[[NodeContext], Sequence[object] | None] = _nothing
    requires: Sequence[str] = ()
    name: str = ""
    version: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.package.rpartition(".")[2])
        if not self.doc:
            object.__setattr__(self, "doc", getattr(sys.modules.get(f"{self.package}.manifest"), "__doc__", None) or "")

    @cached_property
    def needs(self) -> dict[str, Requirement]:
        """What it requires, by name (TypeError: one of `requires` is no requirement)."""
        try:
            found = [Requirement(text) for text in self.requires]
        except InvalidRequirement as error:
            raise TypeError(f"{self.name}: `requires` holds what is no requirement: {error}") from error
        return {one.name: one for one in found}

    @cached_property
    def contents(self) -> Contents:
        """The declarations of its modules. Raises what one of them raises on import."""
        return contents(self.package)

    @property
    def records(self) -> tuple[type[Record], ...]:
        """The tables that its ``model.py`` declares."""
        return self.contents.records

    @property
    def api(self) -> tuple[type[AnyApi], ...]:
        """The API messages that its modules declare."""
        return self.contents.api

    @property
    def steps(self) -> tuple[type[AnyStep], ...]:
        """The classes of its steps; the node makes one object of each."""
        return self.contents.steps

    @property
    def workflow_file(self) -> Path | None:
        """The lists of its own workflows, and its changes of others'; None: it has neither."""
        return self._existing("workflows.toml")

    @property
    def migrations(self) -> Path | None:
        """The folder of its Alembic scripts; None for services of the core, whose scripts are together."""
        return self._existing("migrations/versions")

    @property
    def migrations_folder(self) -> Path:
        """Where its Alembic scripts are, or are to be."""
        return self.folder / "migrations" / "versions"

    def _existing(self, name: str) -> Path | None:
        path = self.folder / name
        return path if path.exists() else None

    @property
    def folder(self) -> Path:
        """Where the package is."""
        file = importlib.import_module(self.package).__file__
        assert file is not None
        return Path(file).parent


class LeftOut(Struct, frozen=True, kw_only=True):
    """A plugin that is not loaded, and why."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """The manifests that were found, in the order in which they are built: each after those that it requires.

    Args:
        plugins: the names of those that the cloud can do without; what fails in another stops the node.
    """

    manifests: Sequence[Manifest]
    left_out: Sequence[LeftOut] = ()
    plugins: frozenset[str] = frozenset()

    def without(self, name: str, reason: str) -> Loaded:
        """The same without the plugin `name`, and without all that require it."""
        gone = {name: reason}
        for manifest in self.manifests:  # each stands behind what it requires
            missing = [needed for needed in manifest.needs if needed in gone]
            if missing and manifest.name not in gone:
                gone[manifest.name] = f"it needs {', '.join(missing)}, which is left out"
        return replace(
            self,
            manifests=tuple(manifest for manifest in self.manifests if manifest.name not in gone),
            left_out=(*self.left_out, *(LeftOut(name=one, reason=why) for one, why in gone.items())),
        )

    def until(self, name: str) -> Loaded:
        """The services of the core, and the plugins up to `name`, which is the last."""
        kept: list[Manifest] = []
        passed = False
        for manifest in self.manifests:
            if manifest.name not in self.plugins or not passed:
                kept.append(manifest)
            passed = passed or manifest.name == name
        return replace(self, manifests=tuple(kept))

    @property
    def core(self) -> Loaded:
        """Only what the cloud cannot do without."""
        return replace(self, manifests=tuple(one for one in self.manifests if one.name not in self.plugins))

    @cached_property
    def records(self) -> tuple[type[Record], ...]:
        """The tables of all manifests."""
        return tuple(record for manifest in self.manifests for record in manifest.records)

    @cached_property
    def api(self) -> tuple[type[AnyApi], ...]:
        """The API messages of all manifests."""
        return tuple(api for manifest in self.manifests for api in manifest.api)

    @cached_property
    def settings(self) -> tuple[AnySetting, ...]:
        """The settings of all manifests, each once however many modules import it."""
        return _once(setting for manifest in self.manifests for setting in manifest.contents.settings)

    @cached_property
    def tags(self) -> tuple[TagDefinition, ...]:
        """The system tags of all manifests, each once however many modules import it."""
        return _once(tag for manifest in self.manifests for tag in manifest.contents.tags)

    @cached_property
    def workflows(self) -> tuple[AnyWorkflow, ...]:
        """The workflows of all manifests, each once however many modules import it."""
        found = (workflow for manifest in self.manifests for workflow in manifest.contents.workflows)
        return tuple({id(workflow): workflow for workflow in found}.values())

    @cached_property
    def audits(self) -> tuple[Audit, ...]:
        """What services promise about their rows, for `cairn db check`."""
        found = (audit for manifest in self.manifests for audit in manifest.contents.audits)
        return tuple({audit.name: audit for audit in found}.values())


def _once(things: Iterable[T]) -> tuple[T, ...]:
    """Each of `things` where it is met first: importing a setting from another package does not declare it."""
    return tuple(dict.fromkeys(things))
