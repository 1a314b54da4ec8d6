"""Extension points of L2 networks."""

from __future__ import annotations

from typing import Protocol

from cairn.kernel.store.store import Tx
from cairn.services.ids import ClusterId, L2NetworkId


class L2AttachmentChanged(Protocol):
    """A listener that is told when an L2 network is attached to a cluster or detached from one."""

    def l2_attachment_changed(self, tx: Tx, l2_network: L2NetworkId) -> None:
        """The set of the network's clusters has changed. Called inside the transaction that changes them; must not refuse."""


class L2NetworkUsers(Protocol):
    """A user of L2 networks, which is asked before one is detached from a cluster."""

    def why_not_detach(self, tx: Tx, l2_network: L2NetworkId, cluster: ClusterId) -> str | None:
        """The reason why the cluster still needs the network (``3 VMs of the cluster have network cards on it``), or None.

        Called inside the transaction that detaches, after the attachment was erased, so a user that is not seen here finds
        no host in that cluster any more.
        """
