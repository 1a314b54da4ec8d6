"""Duties: what one node of the cloud does for all. The ring gives each to one of the members, by the duty's name."""

from __future__ import annotations

from collections.abc import Callable

from cairn.kernel.ids import NodeId
from cairn.kernel.ring import Ring


class Duties:
    """Which duties are this node's.

    Args:
        node: this node.
        ring: None: there are no other nodes, and all duties are its own.
    """

    def __init__(self, node: NodeId, ring: Ring | None = None) -> None:
        self.node = node
        self._ring = ring

    @property
    def members(self) -> frozenset[NodeId]:
        """The nodes that are there, those that are being drained included."""
        return frozenset((self.node,)) if self._ring is None else self._ring.alive

    def is_mine(self, duty: str) -> bool:
        """Whether this node is the one. Before it has joined, none is its own.

        Args:
            duty: its kind and name, ``loop:session sweep``; a resource's uuid is the duty to look after that.
        """
        return self._ring is None or self._ring.owns(self.node, duty)

    def listen(self, call: Callable[[], None]) -> None:
        """Call `call`, which must not raise, after each change of the members."""
        if self._ring is not None:
            self._ring.listen(lambda change: call())
