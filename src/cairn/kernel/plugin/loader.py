"""Finds plugins, and leaves some out.

A plugin is a package with a module `manifest` that holds a `MANIFEST`; ours are found in folders, others by the entry-point
group ``cairn.plugins`` or by name. One that cannot be imported is left out and its reason kept, so that the cloud stays up; so
is one that needs another that is left out.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

import structlog

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.manifest import MANIFEST as KERNEL
from cairn.kernel.plugin.manifest import LeftOut, Loaded, Manifest

ENTRY_POINTS = "cairn.plugins"
_log = structlog.get_logger("cairn.plugin")


def find(services: ModuleType, plugins: ModuleType, extra: Sequence[str], disabled: Iterable[str]) -> Loaded:
    """Find all services and plugins.

    Args:
        services: the package of the core's services; one that fails to load is an error.
        plugins: the package of the distribution's plugins.
        extra: modules of further plugins.
        disabled: names of plugins to leave out.

    Raises:
        CairnError: ``plugin.unknown`` for a name in `disabled` that no plugin has, ``plugin.name-taken``,
            ``plugin.circle``.
    """
    found = [KERNEL, *(_manifest(f"{services.__name__}.{name}.manifest") for name in _folders(services))]
    core = {manifest.name for manifest in found}
    left_out: list[LeftOut] = []
    names = [f"{plugins.__name__}.{name}.manifest" for name in _folders(plugins)]
    points = [point.value.partition(":")[0] for point in entry_points(group=ENTRY_POINTS)]
    broken: set[str] = set()
    for module in dict.fromkeys((*names, *points, *extra)):
        try:
            found.append(_manifest(module))
        except (Exception, SystemExit) as error:  # noqa: BLE001 (the cloud stays up with any error of a plugin's import)
            _log.exception("plugin.broken", module=module)
            broken.add(_folder(module))
            left_out.append(LeftOut(name=module, reason=f"it cannot be imported: {type(error).__name__}: {error}"))
    _check_names(found)
    wanted = set(disabled) - broken
    known = {manifest.name for manifest in found} - core
    if wanted - known:
        raise CairnError(
            "plugin.unknown",
            f"plugins_disabled names {', '.join(sorted(wanted - known))}; there are: {', '.join(sorted(known))}.",
            kind=ErrorKind.INVALID,
        )
    kept = {manifest.name: manifest for manifest in found}
    for name in sorted(wanted):
        del kept[name]
        left_out.append(LeftOut(name=name, reason="it is named in plugins_disabled"))
    _drop_orphans(kept, left_out)
    return Loaded(manifests=_sorted(kept), left_out=tuple(left_out))


def _folders(package: ModuleType) -> list[str]:
    """The packages in `package` that have a manifest; nothing of them is imported yet."""
    return sorted(
        path.parent.name
        for root in package.__path__
        for path in Path(root).glob("*/manifest.py")
        if path.with_name("__init__.py").exists()
    )


def _folder(module: str) -> str:
    """The probable name of a plugin that cannot be imported: its folder's."""
    return module.removesuffix(".manifest").rpartition(".")[2]


def _manifest(module: str) -> Manifest:
    manifest = getattr(importlib.import_module(module), "MANIFEST", None)
    if not isinstance(manifest, Manifest):
        raise CairnError("plugin.no-manifest", f"The module {module} has no MANIFEST.", kind=ErrorKind.INVALID)
    _ = manifest.contents  # imports all of its modules: one that cannot be imported is known now
    return manifest


def _check_names(found: Sequence[Manifest]) -> None:
    names = [manifest.name for manifest in found]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise CairnError(
            "plugin.name-taken", f"Two plugins are called {', '.join(sorted(twice))}.", kind=ErrorKind.INVALID
        )


def _drop_orphans(kept: dict[str, Manifest], left_out: list[LeftOut]) -> None:
    while True:
        orphans = {
            name: missing
            for name, manifest in kept.items()
            if (missing := [needed for needed in manifest.requires if needed not in kept])
        }
        if not orphans:
            return
        for name, missing in orphans.items():
            del kept[name]
            left_out.append(LeftOut(name=name, reason=f"it needs {', '.join(missing)}, which is left out"))


def _sorted(kept: dict[str, Manifest]) -> list[Manifest]:
    done: dict[str, Manifest] = {}

    def visit(manifest: Manifest, within: tuple[str, ...]) -> None:
        if manifest.name in within:
            raise CairnError(
                "plugin.circle",
                f"Plugins require each other in a circle: {' > '.join((*within, manifest.name))}.",
                kind=ErrorKind.INVALID,
            )
        if manifest.name not in done:
            for needed in manifest.requires:
                visit(kept[needed], (*within, manifest.name))
            done[manifest.name] = manifest

    for manifest in kept.values():
        visit(manifest, ())
    return list(done.values())
