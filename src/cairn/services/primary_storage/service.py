"""The primary storage service: answers the API's calls about primary storage."""

from __future__ import annotations

from cairn.kernel.api import Reference
from cairn.kernel.bus.handlers import handles
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.workflow import workflow
from cairn.kernel.jobs import Jobs
from cairn.kernel.membership import hold_beginnings
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.resource import changed, existing, gone, state_changed
from cairn.kernel.store.store import Tx
from cairn.services.ids import ClusterId
from cairn.services.primary_storage.extensions import PrimaryStorageDriver
from cairn.services.primary_storage.messages import (
    AttachPrimaryStorageToCluster,
    ChangePrimaryStorageState,
    DeletePrimaryStorage,
    DetachPrimaryStorageFromCluster,
    UpdatePrimaryStorage,
)
from cairn.services.primary_storage.model import PrimaryStorage, PrimaryStorageClusterRef

ATTACH = workflow(AttachPrimaryStorageToCluster)
DELETE = workflow(DeletePrimaryStorage, unless=gone(PrimaryStorage))


class PrimaryStorageService:
    """Answers the messages about primary storage that are not workflows."""

    def __init__(self, jobs: Jobs, extensions: Extensions) -> None:
        self._jobs = jobs
        self._extensions = extensions

    @handles(UpdatePrimaryStorage)
    async def update(self, message: UpdatePrimaryStorage) -> Reference:
        """Change a primary storage's name or description."""
        return await self._jobs.commit(lambda tx: changed(tx, PrimaryStorage, message))

    @handles(ChangePrimaryStorageState)
    async def change_state(self, message: ChangePrimaryStorageState) -> Reference:
        """Enable or disable a primary storage."""
        return await self._jobs.commit(lambda tx: state_changed(tx, PrimaryStorage, message))

    @handles(DetachPrimaryStorageFromCluster)
    async def detach(self, message: DetachPrimaryStorageFromCluster) -> Reference:
        """Take a primary storage from a cluster, unless its driver says that the cluster still needs it."""

        def fn(tx: Tx) -> Reference:
            hold_beginnings(tx)  # a VM that is just being placed is waited for
            row = existing(tx, PrimaryStorage, message.primary_storage_uuid, "primaryStorageUuid")
            driver = self._extensions.named(PrimaryStorageDriver, row.type)
            cluster = ClusterId(message.cluster_uuid)
            reason = driver.detachable(tx, row.uuid, cluster)
            if reason is not None:
                raise CairnError(
                    "primary-storage.in-use",
                    f"The primary storage {row.name} cannot be taken from the cluster: {reason}.",
                    kind=ErrorKind.CONFLICT,
                )
            tx.delete_where(PrimaryStorageClusterRef, primary_storage_uuid=row.uuid, cluster_uuid=cluster)
            return Reference(uuid=row.uuid)

        return await self._jobs.commit(fn)
