"""Extension points: protocols that owners declare and call, and plugins implement.

An owner declares a `typing.Protocol` in its ``extensions.py`` and asks for its implementations when it needs them::

    for guard in extensions.of(VmStartGuard):
        await guard.pre_start_vm(vm)

A plugin has a class that extends the protocol, and adds an object of it while it is built::

    class OpenPorts(VmStartGuard): ...

    node.extensions.add(OpenPorts(node.store), name="security_group")
"""

from __future__ import annotations

from typing import TypeVar, cast

from cairn.kernel.error import CairnError, ErrorKind

E = TypeVar("E")


class Extensions:
    """The implementations of a node's extension points, in the order in which they were provided."""

    def __init__(self) -> None:
        self._all: dict[type, dict[str, object]] = {}

    def add(self, implementation: object, *, name: str) -> None:
        """Add an implementation of each extension point that its class extends; TypeError: it extends none.

        Raises as `provide`.
        """
        points = [kind for kind in type(implementation).__mro__ if _is_point(kind)]
        if not points:
            raise TypeError(f"{type(implementation).__qualname__} extends no protocol of an `extensions` module")
        for point in points:
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


def _is_point(kind: type) -> bool:
    return kind.__module__.endswith(".extensions") and getattr(kind, "_is_protocol", False)
