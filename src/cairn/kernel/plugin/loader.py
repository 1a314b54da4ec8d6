"""Finds plugins, and leaves some out.

A plugin is a package with a module `manifest` that holds a `MANIFEST`; ours are found in folders, others by the entry-point
group ``cairn.plugins`` or by name. One that cannot be imported, or whose declarations cannot work with those of the others, is
left out and its reason kept, so that the cloud stays up; so is one that needs another that is left out, or another version of
it. Only a service of the core that fails is an error.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import entry_points, version
from pathlib import Path
from types import ModuleType

import structlog
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.manifest import MANIFEST as KERNEL
from cairn.kernel.plugin.declared import check_declared, check_scripts
from cairn.kernel.plugin.fault import sound
from cairn.kernel.plugin.manifest import LeftOut, Loaded, Manifest
from cairn.kernel.plugin.reasons import LEFT_OUT_BY_SETTING

ENTRY_POINTS = "cairn.plugins"
#: the name under which a plugin requires versions of cairn itself
CAIRN = "cairn"
_DISTRIBUTION = "cairn-cloud"
_log = structlog.get_logger("cairn.plugin")


def find(
    services: ModuleType, plugins: ModuleType, extra: Sequence[str], disabled: Iterable[str], *, scripts: bool = True
) -> Loaded:
    """Find all services and plugins.

    Args:
        services: the package of the core's services; one that fails to load is an error.
        plugins: the package of the distribution's plugins.
        extra: modules of further plugins.
        disabled: names of plugins to leave out; one that no plugin has is told, and does no harm.
        scripts: leave out those with a table that no migration script makes; False: they are still to be written.

    Raises:
        Exception: what is wrong with a service of the core.
    """
    core = [KERNEL, *(_manifest(f"{services.__name__}.{name}.manifest") for name in _folders(services))]
    _check_core(core)
    ours = [f"{plugins.__name__}.{name}.manifest" for name in _folders(plugins)]
    points = [point.value.partition(":")[0] for point in entry_points(group=ENTRY_POINTS)]
    left_out: list[LeftOut] = []
    kept = {manifest.name: manifest for manifest in core}
    found: dict[str, str] = {}  # which module has the plugin's name
    for module in dict.fromkeys((*ours, *points, *extra)):
        manifest = _import(module, left_out)
        if manifest is None:
            found[_folder(module)] = module
        elif manifest.name in kept:
            whose = found.get(manifest.name, "a service of the core")
            left_out.append(LeftOut(name=module, reason=f"its name, {manifest.name}, is that of {whose}"))
        else:
            kept[manifest.name], found[manifest.name] = manifest, module
    names = frozenset(kept) - {manifest.name for manifest in core}
    left_out += _disable(kept, found, names, sorted(set(disabled)))
    _drop_orphans(kept, left_out, frozenset(module for module in (*points, *extra)))
    for one in left_out:
        _log.warning("plugin.left-out", plugin=one.name, reason=one.reason)
    loaded = Loaded(manifests=_sorted(kept), left_out=tuple(left_out), plugins=names)
    loaded = sound(loaded, check_declared)
    return sound(loaded, check_scripts) if scripts else loaded


def _import(module: str, left_out: list[LeftOut]) -> Manifest | None:
    try:
        return _manifest(module)
    except (Exception, SystemExit) as error:  # noqa: BLE001 (the cloud stays up with any error of a plugin's import)
        _log.exception("plugin.broken", module=module)
        left_out.append(LeftOut(name=module, reason=f"it cannot be imported: {type(error).__name__}: {error}"))
        return None


def _disable(
    kept: dict[str, Manifest], found: Mapping[str, str], plugins: frozenset[str], disabled: Sequence[str]
) -> Iterable[LeftOut]:
    for name in disabled:
        if name in plugins:
            del kept[name]
            yield LeftOut(name=name, reason=LEFT_OUT_BY_SETTING)
        elif name in kept:
            yield LeftOut(name=name, reason="plugins_disabled names it, but it is a part of the core, and stays")
        elif name not in found:  # else it is left out anyway, as it cannot be imported
            there = ", ".join(sorted(plugins)) or "none"
            yield LeftOut(
                name=name, reason=f"plugins_disabled names it, but there is no such plugin; there are: {there}"
            )


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


def _check_core(core: Sequence[Manifest]) -> None:
    names = [manifest.name for manifest in core]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise CairnError(
            "plugin.name-taken", f"Two services are called {', '.join(sorted(twice))}.", kind=ErrorKind.INTERNAL
        )


def running_version() -> str:
    """The version of the cairn that runs."""
    return version(_DISTRIBUTION)


def _drop_orphans(kept: dict[str, Manifest], left_out: list[LeftOut], foreign: frozenset[str]) -> None:
    """Leave out what cannot have what it requires, until nothing is left that lacks something."""
    versions = {manifest.name: _version(manifest, foreign) for manifest in kept.values()}
    versions[CAIRN] = version(_DISTRIBUTION)
    while orphans := {name: why for name, one in kept.items() if (why := _lacks(one, kept, versions)) is not None}:
        for name, why in orphans.items():
            del kept[name]
            left_out.append(LeftOut(name=name, reason=why))


def _version(manifest: Manifest, foreign: frozenset[str]) -> str:
    """What comes with cairn has cairn's version; a foreign plugin says its own."""
    if manifest.version or f"{manifest.package}.manifest" in foreign:
        return manifest.version
    return version(_DISTRIBUTION)


def _lacks(manifest: Manifest, kept: Mapping[str, Manifest], versions: Mapping[str, str]) -> str | None:
    """Why a plugin cannot have what it requires; None: it can."""
    try:
        needs = manifest.needs
    except TypeError as error:
        return str(error)
    missing = [name for name in needs if name not in kept and name != CAIRN]
    if missing:
        return f"it needs {', '.join(missing)}, which is left out"
    for name, needed in needs.items():
        found = versions[name]
        if str(needed.specifier) and not _is_in(found, needed.specifier):
            return f"it needs {name} {needed.specifier}, but there is {found or 'one that tells no version'}"
    return _circle(manifest, kept)


def _is_in(found: str, wanted: SpecifierSet) -> bool:
    try:
        return wanted.contains(Version(found), prereleases=True)
    except InvalidVersion:
        return False


def _circle(manifest: Manifest, kept: Mapping[str, Manifest], within: tuple[str, ...] = ()) -> str | None:
    """The circle of requirements that a plugin is a part of, in words; None: there is none."""
    if manifest.name in within:
        is_part = manifest.name == within[0]
        return f"plugins require each other in a circle: {' > '.join((*within, manifest.name))}" if is_part else None
    for needed in manifest.needs:
        other = kept.get(needed)
        if other is not None and (found := _circle(other, kept, (*within, manifest.name))) is not None:
            return found
    return None


def _sorted(kept: dict[str, Manifest]) -> list[Manifest]:
    done: dict[str, Manifest] = {}

    def visit(manifest: Manifest) -> None:
        if manifest.name not in done:
            for needed in manifest.needs:
                if needed != CAIRN:
                    visit(kept[needed])
            done[manifest.name] = manifest

    for manifest in kept.values():
        visit(manifest)
    return list(done.values())
