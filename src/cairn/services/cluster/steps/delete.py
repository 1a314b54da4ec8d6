"""Deleting a cluster."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from cairn.kernel.api import DeleteMode
from cairn.kernel.cascade import Cascade
from cairn.kernel.flow.step import NOTHING, Nothing, TransactionStep
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import Tags
from cairn.services.cluster.model import Cluster


class EraseClusterInput(Struct, frozen=True, kw_only=True):
    """Which cluster, and how."""

    resource_uuid: str
    delete_mode: DeleteMode


class EraseCluster(TransactionStep[EraseClusterInput, Nothing]):
    """Forget an empty cluster; refuse one in which something is left."""

    name = "cluster.erase"
    title = "forgetting the cluster"
    nothing_to_undo: ClassVar[str | None] = "it is the last step"

    def __init__(self, cascade: Cascade, tags: Tags) -> None:
        self._cascade = cascade
        self._tags = tags

    def do(self, tx: Tx, given: EraseClusterInput) -> Nothing:
        """Erase."""
        cluster = tx.get(Cluster, given.resource_uuid)
        if cluster is None:
            return NOTHING
        permissive = given.delete_mode is DeleteMode.PERMISSIVE
        self._cascade.refuse(tx, Cluster, cluster.uuid, noun="cluster", name=cluster.name, can_enforce=permissive)
        self._tags.forget(tx, cluster.uuid)
        tx.delete(Cluster, cluster.uuid)
        return NOTHING
