"""Commands of plugins on simulated hosts.

A plugin's module ``simulator`` has a function for each of its agent commands::

    @simulates(ReadLog)
    def read_log(world: World, host: SimHost, command: ReadLog) -> LogText:
        return LogText(text=host.kept.get("audit", {}).get("log", ""))

It changes the world and answers, or raises `Refused` and changes nothing. What it has to remember of a host it keeps in
`SimHost.kept`, under the plugin's name.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import entry_points
from typing import Any, TypeVar

import structlog

from cairn.agents.protocol.wire import AgentCommand, Result
from cairn.kernel.plugin.loader import ENTRY_POINTS
from cairn.simulator.commands import COMMANDS, Entry, entry
from cairn.simulator.world import SimHost, World

C = TypeVar("C", bound=AgentCommand[Any])
R = TypeVar("R", bound=Result)

_MARK = "__cairn_simulates__"
_MANIFEST = ".manifest"
_log = structlog.get_logger("cairn.simulator")


def simulates(
    command: type[AgentCommand[R]],
) -> Callable[[Callable[[World, SimHost, C], R]], Callable[[World, SimHost, C], R]]:
    """Mark a function as what `command` does to a simulated host."""

    def mark(function: Callable[[World, SimHost, C], R]) -> Callable[[World, SimHost, C], R]:
        setattr(function, _MARK, command)
        return function

    return mark


def installed(environment: Mapping[str, str]) -> list[str]:
    """The packages of foreign plugins: those that are installed, and those that ``CAIRN_PLUGINS_EXTRA`` names."""
    points = [point.value.partition(":")[0] for point in entry_points(group=ENTRY_POINTS)]
    extra = [name.strip() for name in environment.get("CAIRN_PLUGINS_EXTRA", "").split(",")]
    return [module.removesuffix(_MANIFEST) for module in dict.fromkeys((*points, *extra)) if module.endswith(_MANIFEST)]


def commands_of(packages: Iterable[str]) -> dict[str, Entry]:
    """The commands that these packages bring, by name. A package that cannot be imported is logged, and brings none."""
    found: dict[str, Entry] = {}
    for package in packages:
        try:
            found |= _commands_of(package)
        except Exception:  # noqa: BLE001 (the simulated hosts go on without one plugin's commands)
            _log.exception("simulator.plugin-broken", package=package)
    return found


def _commands_of(package: str) -> dict[str, Entry]:
    name = f"{package}.simulator"
    if importlib.util.find_spec(name) is None:
        return {}
    found: dict[str, Entry] = {}
    for value in list(vars(importlib.import_module(name)).values()):
        command = getattr(value, _MARK, None)
        if command is None:
            continue
        if command.name in COMMANDS or command.name in found:
            raise TypeError(f"{package}: the command {command.name} is there already")
        found |= dict([entry(command, value)])
    return found
