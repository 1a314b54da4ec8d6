"""What plugins can do with L2 networks."""

from __future__ import annotations

from typing import Protocol

from cairn.kernel.store.store import Tx


class L2AttachmentChanged(Protocol):
    """Is told when an L2 network is attached to a cluster or detached from one."""

    def l2_attachment_changed(self, tx: Tx, l2_network: str) -> None:
        """The network's clusters are others now. Called inside the transaction that changes them; must not refuse."""


class L2NetworkUsers(Protocol):
    """Has a say when an L2 network is to be detached from a cluster."""

    def why_not_detach(self, tx: Tx, l2_network: str, cluster: str) -> str | None:
        """What in the cluster still uses the network (``3 VMs on hosts of the cluster have network cards on it``), or None.

        Called inside the transaction that detaches, after the attachment was erased, so a user that is not seen here finds
        no host in that cluster any more.
        """
