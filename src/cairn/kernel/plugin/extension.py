"""Extension points: protocols that owners declare and call, and plugins implement.

An owner declares a `typing.Protocol` in its ``extensions.py`` and asks for its implementations when it needs them::

    for rule in extensions.of(HostFilter):
        refused |= rule.refuse(tx, need, candidates)

A plugin has a class that extends the protocol, and adds an object of it while it is built::

    class NotOnOldHosts(HostFilter): ...

    node.extensions.add(NotOnOldHosts(), name="old_hosts")

What the class lacks, or declares otherwise than the protocol, is refused then, not at the first call. Points that concern every
kind of resource are in `cairn.kernel.extensions`.
"""

from __future__ import annotations

import difflib
import inspect
from types import FunctionType
from typing import TypeVar, cast

from cairn.kernel.error import CairnError, ErrorKind

E = TypeVar("E")


class Extensions:
    """The implementations of a node's extension points, in the order in which they were provided."""

    def __init__(self) -> None:
        self._all: dict[type, dict[str, object]] = {}

    def add(self, implementation: object, *, name: str) -> None:
        """Add an implementation of each extension point that its class extends.

        Raises:
            TypeError: it extends none, or lacks a method of one, or has it with other parameters.
            CairnError: as `provide`.
        """
        points = [kind for kind in type(implementation).__mro__ if _is_point(kind)]
        if not points:
            raise TypeError(f"{type(implementation).__qualname__} extends no protocol of an `extensions` module")
        for point in points:
            _check(point, type(implementation))
            self.provide(point, implementation, name=name)

    def provide(self, point: type[E], implementation: E, *, name: str) -> None:
        """Add an implementation. `name` is the plugin's, or the type it stands for (``KVM``, ``LocalStorage``).

        Raises:
            CairnError: ``plugin.extension-twice``.
        """
        known = self._all.setdefault(point, {})
        if name in known:
            raise CairnError(
                "plugin.extension-twice",
                f"{point.__name__} is provided twice under the name {name!r}. Leave one of the two plugins out.",
                kind=ErrorKind.INVALID,
            )
        known[name] = implementation

    def of(self, point: type[E]) -> list[E]:
        """All implementations of an extension point."""
        return cast("list[E]", list(self._all.get(point, {}).values()))

    def named(self, point: type[E], name: str) -> E:
        """The implementation for a type (``plugin.no-extension``, naming those that there are)."""
        known = self._all.get(point, {})
        if name not in known:
            raise CairnError(
                "plugin.no-extension",
                f"No plugin handles {name!r} ({point.__name__}); there are: {', '.join(known) or 'none'}. "
                "The plugin that does may be left out.",
                kind=ErrorKind.UNAVAILABLE,
            )
        return cast("E", known[name])

    def names(self, point: type[E]) -> list[str]:
        """The names under which an extension point is provided."""
        return list(self._all.get(point, {}))


def _check(point: type, kind: type) -> None:
    """Refuse a class that does not do what an extension point asks for (TypeError)."""
    for name, declared in vars(point).items():
        if name.startswith("_") or not inspect.isfunction(declared):
            continue
        found = inspect.getattr_static(kind, name)
        whose = f"{kind.__module__}.{kind.__qualname__}"
        if found is declared:
            if not _is_empty(declared):
                continue
            near = difflib.get_close_matches(name, [one for one in vars(kind) if one not in vars(point)], n=1)
            hint = f"; is it `{near[0]}`?" if near else ""
            raise TypeError(f"{whose} extends {point.__name__}, but has no method `{name}`{hint}")
        if not inspect.isfunction(found):
            continue
        wanted, given = (tuple(inspect.signature(one).parameters) for one in (declared, found))
        if given[: len(wanted)] != wanted or _needs_more(found, len(wanted)):
            raise TypeError(
                f"{whose}.{name} takes {', '.join(given[1:]) or 'nothing'}; {point.__name__} gives it "
                f"{', '.join(wanted[1:]) or 'nothing'}"
            )
        if inspect.iscoroutinefunction(found) != inspect.iscoroutinefunction(declared):
            raise TypeError(
                f"{whose}.{name} must {'' if inspect.iscoroutinefunction(declared) else 'not '}be a coroutine "
                f"(`async def`), as in {point.__name__}"
            )
    for name in vars(point).get("__annotations__", {}):
        if not hasattr(kind, name):
            raise TypeError(f"{kind.__module__}.{kind.__qualname__} extends {point.__name__}, but has no `{name}`")


def _nothing(self: object) -> None:
    """A method that is only declared."""


async def _nothing_async(self: object) -> None:
    """A coroutine that is only declared."""


def _is_empty(method: FunctionType) -> bool:
    """Whether a protocol only declares a method; one with a body does something for those that leave it out."""
    return method.__code__.co_code in (_nothing.__code__.co_code, _nothing_async.__code__.co_code)


def _needs_more(method: FunctionType, known: int) -> bool:
    """Whether a method has further parameters that must be given."""
    more = list(inspect.signature(method).parameters.values())[known:]
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return any(one.default is inspect.Parameter.empty and one.kind not in optional for one in more)


def _is_point(kind: type) -> bool:
    return kind.__module__.endswith(".extensions") and getattr(kind, "_is_protocol", False)
