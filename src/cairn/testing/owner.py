"""What a node knows of the owners of keys, for tests of one part of it."""

from __future__ import annotations

from collections.abc import Callable

from cairn.kernel.ids import NodeId
from cairn.kernel.store.tx import Tx

_NODE = NodeId("n")


class SoleOwner:
    """A node that owns all keys.

    Args:
        node: its id.
        check: called where work begins; raises if it may not.
    """

    def __init__(self, node: NodeId = _NODE, check: Callable[[], None] = lambda: None) -> None:
        self.node = node
        self.alive = frozenset({node})
        self.joined = 1
        self._check = check

    def owner_of(self, key: str) -> NodeId:
        """This node."""
        return self.node

    def begin(self, tx: Tx, key: str | None) -> int:
        """The first epoch."""
        self._check()
        return 1
