"""What a node knows of the owners of keys, for tests of one part of it."""

from __future__ import annotations

from collections.abc import Callable

from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.transport import NoTransport
from cairn.kernel.clock import Clock
from cairn.kernel.ids import NodeId, RandomIds
from cairn.kernel.metrics import Metrics
from cairn.kernel.ring import Ring
from cairn.kernel.store.tx import Tx

_NODE = NodeId("n")


def sole_bus(clock: Clock, node: NodeId = _NODE) -> Bus:
    """The bus of a node that owns all keys and knows no other."""
    ring = Ring()
    ring.set_members([node], 1)
    return Bus(node, ring, NoTransport(), clock, Metrics(), RandomIds(seed=1))


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
        """The epoch in which it joined."""
        self._check()
        return self.joined
