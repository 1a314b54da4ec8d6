"""Who works on what: each job and each run has one owner, a node, since an epoch of the ring.

The first row is written by the node to which the ring gives the key (`Ownership.begin`). From then on the row itself says who
its owner is, whatever becomes of the ring; every later write asks for that (`change`, `remove`). When the owner is gone, another
node takes the row over by writing itself and the new epoch into it. So of two nodes that both believe that a row is theirs, one
can write nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, NamedTuple, Protocol

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.ids import NodeId
from cairn.kernel.store.record import Doc, Key, Record, info
from cairn.kernel.store.tx import Tx


class Ownership(Protocol):
    """What a node knows of the owners of keys."""

    @property
    def node(self) -> NodeId:
        """This node."""

    @property
    def alive(self) -> Collection[NodeId]:
        """All nodes that are there, those that are being drained included."""

    @property
    def joined(self) -> int:
        """The epoch since which this node is there: rows that it took before are of a former process."""

    def owner_of(self, key: str) -> NodeId:
        """The node to which the ring gives `key`, as far as this one knows (``ring.empty``)."""

    def begin(self, tx: Tx, key: str | None) -> int:
        """The epoch in which this node begins work on `key` (None: inside of work that is its own already).

        Raises:
            CairnError: ``node.fenced``; ``bus.not-owner``: nothing may be begun here, ask again.
        """


class Claim(NamedTuple):
    """A row and whose it is, as a node knows it."""

    key: str
    node_uuid: NodeId | None  #: None: nobody's just now
    epoch: int


class Owned(Record, frozen=True, kw_only=True):
    """A row that one node works on."""

    uuid: Annotated[str, Key()]
    node_uuid: Annotated[NodeId, Doc("the node that works on it, or did last")] = NodeId("")
    epoch: Annotated[int, Doc("of the ring, when that node took it")] = 0

    @property
    def claim(self) -> Claim:
        """Whose it is."""
        return Claim(self.uuid, self.node_uuid, self.epoch)


def is_living(owners: Ownership, claim: Claim) -> bool:
    """Whether the process that a row belongs to is there. Another node's former process is that node's own matter."""
    if claim.node_uuid == owners.node:
        return claim.epoch >= owners.joined
    return claim.node_uuid in owners.alive


def change_if(tx: Tx, kind: type[Record], claim: Claim, /, **values: object) -> bool:
    """Set fields of a row, if it is still claimed so. False: it has changed hands, or has gone.

    Args:
        kind: has the fields of `Owned` beside a key of its own.
    """
    return tx.update_where(kind, _seen(kind, claim), **values) > 0


def change(tx: Tx, kind: type[Record], claim: Claim, /, **values: object) -> None:
    """Set fields of a row, if it is still claimed so (``node.fenced``)."""
    if not change_if(tx, kind, claim, **values):
        raise lost(kind, claim)


def remove(tx: Tx, kind: type[Record], claim: Claim) -> None:
    """Delete a row, if it is still claimed so (``node.fenced``)."""
    if not tx.delete_where(kind, **_seen(kind, claim)):
        raise lost(kind, claim)


def take(tx: Tx, kind: type[Record], claim: Claim, node: NodeId, epoch: int, /, **values: object) -> bool:
    """Have a row belong to `node`, and set fields of it. False: it has changed hands since it was read, or has gone."""
    return change_if(tx, kind, claim, node_uuid=node, epoch=epoch, **values)


def _seen(kind: type[Record], claim: Claim) -> dict[str, object]:
    return {info(kind).key.name: claim.key, "node_uuid": claim.node_uuid, "epoch": claim.epoch}


def lost(kind: type[Record], claim: Claim) -> CairnError:
    """``node.fenced``: a row is not this node's any more."""
    return CairnError(
        "node.fenced",
        f"Another node has taken over {kind.meta.entity or kind.__name__} {claim.key}. This one does nothing more for it.",
        kind=ErrorKind.UNAVAILABLE,
        details={"uuid": claim.key},
    )
