"""A VM's root volume, from its row to its file and back."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from cairn.kernel.error import CairnError, not_found
from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing, TransactionStep
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.resource import erase, taken, write
from cairn.kernel.store.store import Store, Tx
from cairn.services.host.extensions import Candidate
from cairn.services.host.provided import FILE_DEBT, HostDebts, is_out_of_reach
from cairn.services.image.messages import ImageSpec
from cairn.services.primary_storage.extensions import (
    CachedImage,
    NewVolume,
    PrimaryStorageDriver,
    RootStorage,
    VolumeSpec,
)
from cairn.services.primary_storage.model import PrimaryStorage
from cairn.services.volume.model import ROOT, Volume, VolumeStatus


class RecordRootInput(Struct, frozen=True, kw_only=True):
    """The new volume, with its VM, image and storage."""

    uuid: str  #: of the VM
    account: str
    image: ImageSpec
    root: NewVolume
    root_storage: RootStorage


class RootVolumeOutput(Struct, frozen=True, kw_only=True):
    """The root volume, as VMs and storage need it."""

    root_volume: VolumeSpec


class RecordRoot(TransactionStep[RecordRootInput, RootVolumeOutput]):
    """Write the root volume down."""

    name = "volume.record-root"
    title = "writing the disk down"

    def __init__(self, extensions: Extensions) -> None:
        self._extensions = extensions

    def do(self, tx: Tx, given: RecordRootInput) -> RootVolumeOutput:
        """Insert its row; its file is made later, at the path that the storage's driver chooses."""
        driver = self._extensions.named(PrimaryStorageDriver, given.root_storage.type)
        volume = taken(
            Volume,
            given.root,
            account_uuid=given.account,
            primary_storage_uuid=given.root_storage.uuid,
            vm_instance_uuid=given.uuid,
            root_image_uuid=given.image.uuid,
            install_path=driver.volume_path(given.root_storage.mount_path, given.account, given.root.uuid),
            size=given.root.size_bytes,
            status=VolumeStatus.READY,
            create_date=tx.now,
            last_op_date=tx.now,
        )
        write(tx, volume)
        return RootVolumeOutput(root_volume=spec_of(volume))

    def undo(self, tx: Tx, given: RecordRootInput, made: RootVolumeOutput | None) -> None:
        """Erase the row; a volume without one is success."""
        erase(tx, Volume, given.root.uuid)


class LoadRootInput(Struct, frozen=True, kw_only=True):
    """The VM whose root volume is read."""

    uuid: str  #: of the VM


class LoadRootOutput(Struct, frozen=True, kw_only=True):
    """The root volume, and the storage that it is on."""

    root_volume: VolumeSpec
    root_storage: RootStorage


class LoadRoot(TransactionStep[LoadRootInput, LoadRootOutput]):
    """Read the root volume of a VM that has one."""

    name = "volume.load-root"
    title = "looking the disk up"
    nothing_to_undo: ClassVar[str | None] = "it only reads"

    def do(self, tx: Tx, given: LoadRootInput) -> LoadRootOutput:
        """Find the VM's root volume and its storage (``volume.not-found``)."""
        volume = next(iter(tx.find(Volume, vm_instance_uuid=given.uuid, type=ROOT)), None)
        if volume is None:
            raise not_found("volume", "vmInstanceUuid", given.uuid, "root volume of the VM")
        storage = tx.get(PrimaryStorage, volume.primary_storage_uuid)
        assert storage is not None
        return LoadRootOutput(root_volume=spec_of(volume), root_storage=taken(RootStorage, storage))


class CreateVolumeInput(Struct, frozen=True, kw_only=True):
    """The volume, its storage, the host, and the cached image that it is based on."""

    root_volume: VolumeSpec
    root_storage: RootStorage
    place: Candidate
    cached_image: CachedImage


class CreateVolume(ActionStep[CreateVolumeInput, Nothing]):
    """Make the volume's file on its storage."""

    name = "volume.create"
    title = "making the disk"

    def __init__(self, store: Store, extensions: Extensions, debts: HostDebts) -> None:
        self._store = store
        self._extensions = extensions
        self._debts = debts

    async def do(self, given: CreateVolumeInput) -> Nothing:
        """Make the file; one that is there already is taken for the volume."""
        driver = self._extensions.named(PrimaryStorageDriver, given.root_storage.type)
        await driver.create_volume(given.root_volume, given.place.host_uuid, given.cached_image)
        return NOTHING

    async def undo(self, given: CreateVolumeInput, made: Nothing | None) -> None:
        """Delete the file, which may be there, half there or not there; a host that is out of reach owes its removal."""
        driver, host = self._extensions.named(PrimaryStorageDriver, given.root_storage.type), given.place.host_uuid
        try:
            await driver.delete_volume(given.root_volume, host)
        except CairnError as error:
            if not is_out_of_reach(error):
                raise
            left = error
            await self._store.write(
                lambda tx: self._debts.owe(tx, host, FILE_DEBT, given.root_volume.install_path, left)
            )


class DeleteVolumeInput(Struct, frozen=True, kw_only=True):
    """The volume, and the storage that it is on."""

    root_volume: VolumeSpec
    root_storage: RootStorage
    enforced: bool = False  #: a host that does not remove the file owes its removal


class DeleteVolume(ActionStep[DeleteVolumeInput, Nothing]):
    """Remove the volume's file from its storage."""

    name = "volume.delete"
    title = "removing the disk"
    nothing_to_undo: ClassVar[str | None] = "what is removed cannot be brought back; trying again goes on"

    def __init__(self, store: Store, extensions: Extensions, debts: HostDebts) -> None:
        self._store = store
        self._extensions = extensions
        self._debts = debts

    async def do(self, given: DeleteVolumeInput) -> Nothing:
        """Delete the file; one that is gone already is success, and so is, by force, one that cannot be removed now.

        By force also where the host answers: its disk may be what is broken.
        """
        driver = self._extensions.named(PrimaryStorageDriver, given.root_storage.type)
        try:
            await driver.delete_volume(given.root_volume, None)
        except CairnError as error:
            host = await self._store.look(lambda tx: driver.host_of(tx, given.root_volume.uuid))
            if not given.enforced or host is None:
                raise  # nobody can owe what is on no host's disk
            left = error
            await self._store.write(
                lambda tx: self._debts.owe(tx, host, FILE_DEBT, given.root_volume.install_path, left)
            )
        return NOTHING


class EraseVolume(TransactionStep[DeleteVolumeInput, Nothing]):
    """Forget the volume and give its space back."""

    name = "volume.erase"
    title = "giving the disk's space back"
    nothing_to_undo: ClassVar[str | None] = "its file is gone by then"

    def __init__(self, extensions: Extensions) -> None:
        self._extensions = extensions

    def do(self, tx: Tx, given: DeleteVolumeInput) -> Nothing:
        """Give the space back and erase the row; a volume that is gone already is success."""
        self._extensions.named(PrimaryStorageDriver, given.root_storage.type).release(tx, given.root_volume.uuid)
        erase(tx, Volume, given.root_volume.uuid)
        return NOTHING


def spec_of(volume: Volume) -> VolumeSpec:
    """Make the record that VMs and storage need of a volume."""
    return taken(VolumeSpec, volume, size_bytes=volume.size)
