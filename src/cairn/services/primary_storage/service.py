"""The primary storage service."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from cairn.kernel.api import Reference
from cairn.kernel.bus.bus import Bus
from cairn.kernel.error import CairnError, ErrorKind, not_found
from cairn.kernel.flow.engine import FlowEngine
from cairn.kernel.flow.workflow import Workflow
from cairn.kernel.jobs import Jobs
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.resource import erase
from cairn.kernel.store.store import Store, Tx
from cairn.kernel.tag import Tags
from cairn.services.host.extensions import Candidate, HostNeed
from cairn.services.primary_storage.extensions import PrimaryStorageDriver
from cairn.services.primary_storage.messages import (
    AttachPrimaryStorageToCluster,
    ChangePrimaryStorageState,
    DeletePrimaryStorage,
    DetachPrimaryStorageFromCluster,
    DropImageCaches,
    StorageStateEvent,
    UpdatePrimaryStorage,
)
from cairn.services.primary_storage.model import (
    ImageCache,
    PrimaryStorage,
    PrimaryStorageClusterRef,
    PrimaryStorageState,
)
from cairn.services.primary_storage.steps.attach import AttachParameters
from cairn.services.primary_storage.usable import UsableStorage
from cairn.services.volume.model import Volume


class StorageAnswer(Struct, frozen=True, kw_only=True):
    """Which storage it was."""

    storage_uuid: str


ATTACH = Workflow(
    name="primary-storage.attach",
    parameters=AttachParameters,
    answer=StorageAnswer,
    doc="Lets the hosts of a cluster use a primary storage.",
)


class PrimaryStorageService:
    """Answers the messages about primary storage; implements `HostFilter`."""

    def __init__(
        self,
        bus: Bus,
        store: Store,
        jobs: Jobs,
        flows: Callable[[], FlowEngine],
        tags: Tags,
        extensions: Extensions,
        usable: UsableStorage,
    ) -> None:
        self._store = store
        self._usable = usable
        self._jobs = jobs
        self._flows = flows
        self._tags = tags
        self._extensions = extensions
        bus.register(UpdatePrimaryStorage, self.update)
        bus.register(ChangePrimaryStorageState, self.change_state)
        bus.register(AttachPrimaryStorageToCluster, self.attach)
        bus.register(DetachPrimaryStorageFromCluster, self.detach)
        bus.register(DeletePrimaryStorage, self.delete)
        bus.register(DropImageCaches, self.drop_caches)

    async def update(self, message: UpdatePrimaryStorage) -> Reference:
        """Change name or description."""

        def fn(tx: Tx) -> Reference:
            row = existing(tx, message.uuid)
            tx.update(
                PrimaryStorage,
                row.uuid,
                name=message.name or row.name,
                description=row.description if message.description is None else message.description,
                last_op_date=tx.now,
            )
            return Reference(uuid=row.uuid)

        return await self._jobs.commit(fn)

    async def change_state(self, message: ChangePrimaryStorageState) -> Reference:
        """Enable or disable."""
        enabled = message.state_event is StorageStateEvent.ENABLE
        state = PrimaryStorageState.ENABLED if enabled else PrimaryStorageState.DISABLED

        def fn(tx: Tx) -> Reference:
            row = existing(tx, message.uuid)
            tx.update(PrimaryStorage, row.uuid, state=state, last_op_date=tx.now)
            return Reference(uuid=row.uuid)

        return await self._jobs.commit(fn)

    async def attach(self, message: AttachPrimaryStorageToCluster) -> Reference:
        """Let a cluster use it."""
        parameters = AttachParameters(storage_uuid=message.primary_storage_uuid, cluster_uuid=message.cluster_uuid)
        queue = f"primary-storage:{message.primary_storage_uuid}"
        answer = await self._flows().run(ATTACH, parameters, queue=queue)
        return Reference(uuid=answer.storage_uuid)

    async def detach(self, message: DetachPrimaryStorageFromCluster) -> Reference:
        """Take it from a cluster."""

        def fn(tx: Tx) -> Reference:
            row = existing(tx, message.primary_storage_uuid)
            driver = self._extensions.named(PrimaryStorageDriver, row.type)
            reason = driver.detachable(tx, row.uuid, message.cluster_uuid)
            if reason is not None:
                raise CairnError(
                    "primary-storage.in-use",
                    f"The primary storage {row.name} cannot be taken from the cluster: {reason}.",
                    kind=ErrorKind.CONFLICT,
                )
            tx.delete_where(PrimaryStorageClusterRef, primary_storage_uuid=row.uuid, cluster_uuid=message.cluster_uuid)
            return Reference(uuid=row.uuid)

        return await self._jobs.commit(fn)

    async def delete(self, message: DeletePrimaryStorage) -> None:
        """Remove it; one that is gone is success."""

        def fn(tx: Tx) -> None:
            row = tx.get(PrimaryStorage, message.uuid)
            if row is None:
                return
            clusters = tx.count(PrimaryStorageClusterRef, primary_storage_uuid=row.uuid)
            volumes = tx.count(Volume, primary_storage_uuid=row.uuid)
            if clusters or volumes:
                raise CairnError(
                    "primary-storage.in-use",
                    f"The primary storage {row.name} is attached to {clusters} clusters and holds {volumes} volumes. "
                    "Detach it and expunge the VMs first.",
                    kind=ErrorKind.CONFLICT,
                )
            self._tags.forget(tx, row.uuid)
            erase(tx, PrimaryStorage, row.uuid)

        await self._jobs.commit(fn)

    async def drop_caches(self, message: DropImageCaches) -> None:
        """Remove caches of an image that is gone."""

        def fn(tx: Tx) -> list[PrimaryStorage]:
            caches = tx.find(ImageCache, image_uuid=message.image_uuid)
            return tx.find(PrimaryStorage, uuid=sorted({cache.primary_storage_uuid for cache in caches}))

        for storage in await self._store.read(fn):
            driver = self._extensions.named(PrimaryStorageDriver, storage.type)
            await driver.drop_image(storage.uuid, message.image_uuid)

    # -- HostFilter ------------------------------------------------------------------------------------------------

    def refuse(self, tx: Tx, need: HostNeed, candidates: Sequence[Candidate]) -> dict[str, str]:
        """Hosts that have no storage for the VM's root volume, or not the volume that it has already."""
        if need.root_volume_uuid is not None:
            volume = tx.get(Volume, need.root_volume_uuid)
            storage = tx.get(PrimaryStorage, volume.primary_storage_uuid) if volume else None
            if storage is None:
                return {candidate.host_uuid: "cannot be asked for a disk that is gone" for candidate in candidates}
            driver = self._extensions.named(PrimaryStorageDriver, storage.type)
            return driver.refuse(tx, storage.uuid, candidates, 0, need.root_volume_uuid)
        refused: dict[str, str] = {}
        for candidate in candidates:
            choices = self._usable.of(tx, candidate.cluster_uuid, need.primary_storage_uuid)
            reason = self._refuse_new(tx, candidate, choices, need.disk_bytes)
            if reason is not None:
                refused[candidate.host_uuid] = reason
        return refused

    def _refuse_new(self, tx: Tx, candidate: Candidate, choices: list[PrimaryStorage], size: int) -> str | None:
        reason = "has no enabled primary storage attached to its cluster"
        for storage in choices:
            driver = self._extensions.named(PrimaryStorageDriver, storage.type)
            refused = driver.refuse(tx, storage.uuid, [candidate], size, None)
            if not refused:
                return None
            reason = refused[candidate.host_uuid]
        return reason


def existing(tx: Tx, uuid: str) -> PrimaryStorage:
    """The primary storage (``primary-storage.not-found``)."""
    row = tx.get(PrimaryStorage, uuid)
    if row is None:
        raise not_found("primary-storage", "uuid", uuid)
    return row
