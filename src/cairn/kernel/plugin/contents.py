"""The declarations of a package, found by looking at its modules: nothing has to be listed a second time.

A record, an API message or a step belongs to the module that defines its class. A setting, a tag, a workflow or an audit is a
value of a module, alone or in a tuple; one that is imported from elsewhere is seen here too, and belongs to the package that is
loaded first (`Loaded` sees to that, and a package is always loaded after those that it requires).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import TypeGuard

from msgspec import Struct

from cairn.kernel.api import AnyApi, ApiCommand, ApiQuery
from cairn.kernel.config import AnySetting, Setting
from cairn.kernel.flow.step import ActionStep, AnyStep, TransactionStep
from cairn.kernel.flow.workflow import AnyWorkflow, Workflow
from cairn.kernel.health import Audit
from cairn.kernel.store.record import Record
from cairn.kernel.tag import TagDefinition

#: folders of a package that are not part of it when it runs
_LEFT_ALONE = ("migrations", "ansible")
#: modules that are not for nodes, but for agents and for simulated hosts
_ELSEWHERE = ("agent", "simulator")


class Contents(Struct, frozen=True, kw_only=True):
    """The declarations of a package's modules, in the order of their names."""

    records: tuple[type[Record], ...]
    api: tuple[type[AnyApi], ...]
    steps: tuple[type[AnyStep], ...]
    settings: tuple[AnySetting, ...]
    tags: tuple[TagDefinition, ...]
    workflows: tuple[AnyWorkflow, ...]
    audits: tuple[Audit, ...] = ()


def contents(package: str) -> Contents:
    """Import all modules of `package` and collect what they declare. Raises what a module raises on import."""
    found = [value for module in _modules(package) for value in _declared(module)]
    return Contents(
        records=tuple(value for value in found if _is_record(value)),
        api=tuple(value for value in found if _is_api(value)),
        steps=tuple(value for value in found if _is_step(value)),
        settings=tuple(dict.fromkeys(value for value in found if isinstance(value, Setting))),
        tags=tuple(dict.fromkeys(value for value in found if isinstance(value, TagDefinition))),
        workflows=tuple({value.name: value for value in found if isinstance(value, Workflow)}.values()),
        audits=tuple({value.name: value for value in found if isinstance(value, Audit)}.values()),
    )


def _modules(package: str) -> Iterator[ModuleType]:
    root = importlib.import_module(package)
    yield root
    for _, name, is_package in sorted(pkgutil.iter_modules(getattr(root, "__path__", ())), key=lambda one: one[1]):
        if name in _LEFT_ALONE or (name in _ELSEWHERE and not is_package):
            continue
        if is_package:
            yield from _modules(f"{package}.{name}")
        else:
            yield importlib.import_module(f"{package}.{name}")


def _declared(module: ModuleType) -> Iterator[object]:
    for value in list(vars(module).values()):
        if isinstance(value, type):
            if value.__module__ == module.__name__:
                yield value
        elif isinstance(value, tuple):
            yield from value
        else:
            yield value


def _is_class(value: object, base: type) -> bool:
    return isinstance(value, type) and issubclass(value, base)


def _is_record(value: object) -> TypeGuard[type[Record]]:
    return _is_class(value, Record) and "meta" in vars(value)


def _is_api(value: object) -> TypeGuard[type[AnyApi]]:
    return (_is_class(value, ApiCommand) or _is_class(value, ApiQuery)) and not getattr(value, "abstract", True)


def _is_step(value: object) -> TypeGuard[type[AnyStep]]:
    is_step = _is_class(value, TransactionStep) or _is_class(value, ActionStep)
    return is_step and hasattr(value, "input") and hasattr(value, "name")
