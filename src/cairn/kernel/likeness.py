"""What the nodes of one cloud have to have in common, and what may differ while they are restarted one by one.

A node takes over what others have begun, and does what is asked of any of them. So it needs their plugins: without one it would
undo that plugin's runs, refuse its calls, and place VMs without asking it. A node that would join with other plugins is refused.

What may differ, since nodes are upgraded one after the other, and is told in the log:

- the versions of a plugin;
- plugins that come with cairn, beside a node of another version of cairn;
- plugins that the operator names (`CAIRN_PLUGINS_ROLLING`), while one is brought in or taken out;
- what agents are installed from. Each node puts its own on the machines that it watches.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from msgspec import Struct

from cairn.kernel.error import CairnError, ErrorKind


class Member(Protocol):
    """A node as its row tells of it."""

    @property
    def uuid(self) -> str:
        """Its id."""

    @property
    def version(self) -> str:
        """Of cairn."""

    @property
    def plugins(self) -> Mapping[str, str] | None:
        """Its plugins with their versions, empty for one that comes with cairn; None: it did not say."""

    @property
    def wheels(self) -> str | None:
        """The checksum of what it installs agents from."""


class Likeness(Struct, frozen=True, kw_only=True):
    """What a node has, to be compared with the others."""

    version: str = ""
    plugins: dict[str, str] = {}
    wheels: str = ""  #: empty: none
    rolling: frozenset[str] = frozenset()  #: plugins that the others may have, or not have

    def refuses(self, other: Member) -> frozenset[str]:
        """The plugins because of which this node and that one cannot be of one cloud."""
        theirs = self.plugins if other.plugins is None else other.plugins
        upgrading = other.version != self.version
        versions = {**theirs, **self.plugins}
        return frozenset(
            name
            for name in self.plugins.keys() ^ theirs.keys()
            if name not in self.rolling and not (upgrading and not versions[name])
        )

    def notes(self, other: Member) -> dict[str, str]:
        """What else differs, by what it is of: this node's, and that one's."""
        theirs = self.plugins if other.plugins is None else other.plugins
        found = {
            name: f"{_version(self.plugins, name)} here, {_version(theirs, name)} there"
            for name in sorted(self.plugins.keys() | theirs.keys())
            if self.plugins.get(name) != theirs.get(name)
        }
        if other.wheels is not None and other.wheels != self.wheels:
            found["wheels of agents"] = f"{_checksum(self.wheels)} here, {_checksum(other.wheels)} there"
        return found

    def refusal(self, others: Iterable[Member]) -> CairnError:
        """What a node is refused with that some others cannot be of one cloud with."""
        told: list[str] = []
        for other in others:
            names = self.refuses(other)
            more = ", ".join(sorted(names & self.plugins.keys()))
            less = ", ".join(sorted(names - self.plugins.keys()))
            parts = [f"has not {more}" if more else "", f"has {less}, which this node has not" if less else ""]
            told.append(f"node {other.uuid} {' and '.join(part for part in parts if part)}")
        return CairnError(
            "node.plugins-differ",
            f"This node has other plugins than the nodes that run: {'; '.join(told)}. Nodes of one cloud need the same. Why a "
            "plugin is left out here is in the log (plugin.left-out). To bring one in or take one out node by node, name it in "
            "CAIRN_PLUGINS_ROLLING meanwhile.",
            kind=ErrorKind.CONFLICT,
        )


def _version(plugins: Mapping[str, str], name: str) -> str:
    return plugins[name] or "cairn's own" if name in plugins else "none"


def _checksum(wheels: str) -> str:
    return wheels[:12] or "none"
