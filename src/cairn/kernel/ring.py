"""The ring: which node owns a key. Every node that knows the same members answers the same.

Each node has many points on a circle of 64-bit hashes; a key belongs to the first point at or after its own hash.
With 1,024 points a node's share strays by about 3 % of itself, so five nodes carry 20 % ± 3 each with a wide margin; a
node that joins or leaves moves only its own share.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from hashlib import blake2b

from msgspec import Struct

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.ids import NodeId

_POINTS_PER_DIGEST = 8


class RingChange(Struct, frozen=True, kw_only=True):
    """A change of the nodes, as listeners are told of it afterwards."""

    epoch: int
    members: frozenset[NodeId]  #: those that own keys
    joined: frozenset[NodeId]  #: nodes that were not there before, or have started again
    left: frozenset[NodeId]  #: nodes that are not there any more, or have started again


class Ring:
    """Maps keys to nodes. Changes only through `set_members`; the epoch says which list of members it is."""

    def __init__(self, virtual_nodes: int = 1024) -> None:
        """`virtual_nodes`: points on the circle for each node, rounded up to a multiple of 8."""
        self._digests = -(-virtual_nodes // _POINTS_PER_DIGEST)
        self._hashes: list[int] = []
        self._owners: list[NodeId] = []
        self._only: NodeId | None = None
        self._listeners: list[Callable[[RingChange], None]] = []
        self.members: frozenset[NodeId] = frozenset()  #: nodes that own keys
        self.alive: frozenset[NodeId] = frozenset()  #: these, and those that end what they have and get nothing new
        self.epoch: int = 0

    def node_of(self, key: str) -> NodeId:
        """The member that owns `key`.

        Raises:
            CairnError: ``ring.empty`` while there are no members.
        """
        if self._only is not None:
            return self._only
        if not self._hashes:
            raise CairnError(
                "ring.empty", "No node is in service yet; ask again in a moment.", kind=ErrorKind.UNAVAILABLE
            )
        place = bisect_left(self._hashes, int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big"))
        return self._owners[place] if place < len(self._owners) else self._owners[0]

    def owns(self, node: NodeId, key: str) -> bool:
        """Whether `node` owns `key`. While there are no members nobody owns anything."""
        return bool(self.members) and self.node_of(key) == node

    def set_members(
        self,
        members: Iterable[NodeId],
        epoch: int,
        *,
        draining: Iterable[NodeId] = (),
        restarted: Iterable[NodeId] = (),
    ) -> bool:
        """Take `members` as the list of `epoch`. A list of a lower epoch changes nothing and returns False.

        Args:
            members: all that own keys.
            epoch: counts up with every change.
            draining: nodes that are there but own no keys any more.
            restarted: members that left and joined again unseen; listeners are told that they left and joined.

        Raises:
            ValueError: this epoch is known with other members: two lists must never share an epoch.
        """
        new = frozenset(members)
        alive = new | frozenset(draining)
        if epoch < self.epoch or (epoch == self.epoch and new == self.members):
            return False
        if epoch == self.epoch and self.members:
            raise ValueError(f"epoch {epoch} has members {sorted(self.members)}, and is now said to have {sorted(new)}")
        again = frozenset(restarted) & alive & self.alive
        joined, left = (alive - self.alive) | again, (self.alive - alive) | again
        change = RingChange(epoch=epoch, members=new, joined=joined, left=left)
        self._build(new)
        self.members, self.alive, self.epoch = new, alive, epoch
        for listener in list(self._listeners):
            listener(change)
        return True

    def listen(self, listener: Callable[[RingChange], None]) -> Callable[[], None]:
        """Call `listener`, which must not raise, after each change. Returns a function that ends this; safe to repeat."""
        self._listeners.append(listener)

        def end() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return end

    def _build(self, members: frozenset[NodeId]) -> None:
        points = sorted((point, node) for node in members for point in self._points(node))
        self._hashes = [point for point, _ in points]
        self._owners = [node for _, node in points]
        self._only = next(iter(members)) if len(members) == 1 else None

    def _points(self, node: NodeId) -> Iterable[int]:
        for number in range(self._digests):
            digest = blake2b(f"{node}/{number}".encode(), digest_size=8 * _POINTS_PER_DIGEST).digest()
            for start in range(0, len(digest), 8):
                yield int.from_bytes(digest[start : start + 8], "big")
