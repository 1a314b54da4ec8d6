"""Creating a VM: the steps that the VM service adds to those of hosts, storage and networks."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from cairn.kernel.error import CairnError, ErrorKind, invalid
from cairn.kernel.flow.step import NOTHING, Nothing, TransactionStep
from cairn.kernel.ids import IdSource
from cairn.kernel.resource import EnabledState, enter, erase, existing, taken
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import Tags
from cairn.services.host.extensions import Candidate, HostNeed
from cairn.services.ids import L3NetworkId, VolumeId
from cairn.services.image.messages import ImageSpec
from cairn.services.l3.messages import ClaimedAddress
from cairn.services.offering.model import InstanceOffering
from cairn.services.primary_storage.extensions import NewVolume
from cairn.services.vm.definition import VmDefinition, nic_model
from cairn.services.vm.extensions import NicSpec
from cairn.services.vm.machine import LIFE, Operation, operation_of
from cairn.services.vm.messages import CreateVmInstance
from cairn.services.vm.model import VmInstance, VmNic, VmState
from cairn.services.vm.states import VmStates
from cairn.services.vm.tags import from_tags, hostname_of


class PrepareInput(Struct, frozen=True, kw_only=True):
    """The call, and the image that it names."""

    uuid: str
    account: str
    asked: CreateVmInstance
    image: ImageSpec


class PrepareOutput(Struct, frozen=True, kw_only=True):
    """The VM's definition, and what it needs of networks, storage and hosts."""

    vm: VmDefinition
    root: NewVolume
    l3_network_uuids: list[L3NetworkId]
    host_need: HostNeed


class PrepareVm(TransactionStep[PrepareInput, PrepareOutput]):
    """Work out the VM's definition, and what it needs."""

    name = "vm.prepare"
    title = "working out what the VM needs"
    nothing_to_undo: ClassVar[str | None] = "it only reads and computes"

    def __init__(self, ids: IdSource) -> None:
        self._ids = ids

    def do(self, tx: Tx, given: PrepareInput) -> PrepareOutput:
        """Take the size from the offering or from the call, and the rest from the call and its tags."""
        asked = given.asked
        size = _offering(tx, asked.instance_offering_uuid) if asked.instance_offering_uuid else asked
        vm = taken(
            VmDefinition,
            from_tags(asked.system_tags, hostname_of(asked.name)),
            asked,
            given.image,
            uuid=given.uuid,
            cpu_num=size.cpu_num,
            memory_size=size.memory_size,
            default_l3_network_uuid=asked.default_network,
        )
        root = NewVolume(
            uuid=VolumeId(self._ids.new()),
            name=f"ROOT-for-{asked.name}"[:255],
            size_bytes=_root_size(asked, given.image),
            primary_storage_uuid=asked.primary_storage_uuid_for_root_volume,
        )
        networks = [L3NetworkId(uuid) for uuid in asked.l3_network_uuids]
        need = taken(
            HostNeed,
            vm,
            asked,
            vm_uuid=vm.uuid,
            starts=operation_of(asked) is Operation.CREATE,
            disk_bytes=root.size_bytes,
            primary_storage_uuid=root.primary_storage_uuid,
        )
        return PrepareOutput(vm=vm, root=root, l3_network_uuids=networks, host_need=need)


def _offering(tx: Tx, uuid: str) -> InstanceOffering:
    offering = existing(tx, InstanceOffering, uuid, "instanceOfferingUuid")
    if offering.state is not EnabledState.ENABLED:
        raise CairnError(
            "vm.offering-disabled",
            f"instanceOfferingUuid: the offering {offering.name} is disabled. Enable it or choose another.",
            kind=ErrorKind.CONFLICT,
        )
    return offering


def _root_size(asked: CreateVmInstance, image: ImageSpec) -> int:
    size = asked.root_disk_size or image.size_bytes
    if size < image.size_bytes:
        raise invalid(
            "vm.disk-too-small", "rootDiskSize", size, f"at least the image's {image.size_bytes} bytes would fit"
        )
    return size


class RecordInput(Struct, frozen=True, kw_only=True):
    """The new VM's definition and place, and the call that its row keeps."""

    account: str
    asked: CreateVmInstance
    image: ImageSpec
    vm: VmDefinition
    root: NewVolume
    place: Candidate


class RecordVm(TransactionStep[RecordInput, Nothing]):
    """Write the VM down, as Starting."""

    name = "vm.record"
    title = "writing the VM down"

    def __init__(self, tags: Tags, states: VmStates) -> None:
        self._tags = tags
        self._states = states

    def do(self, tx: Tx, given: RecordInput) -> Nothing:
        """Insert the VM, with the call's tags. Where call and definition name the same field, the definition counts."""
        vm = taken(
            VmInstance,
            given.vm,
            given.place,
            given.image,
            given.asked,
            account_uuid=given.account,
            last_host_uuid=given.place.host_uuid,
            root_volume_uuid=given.root.uuid,
            state=LIFE[operation_of(given.asked)].during,
            create_date=tx.now,
            last_op_date=tx.now,
        )
        enter(tx, self._tags, given.asked, vm)
        return NOTHING

    def undo(self, tx: Tx, given: RecordInput, made: Nothing | None) -> None:
        """Erase the VM, and emit an event, since people may have seen it."""
        vm = tx.get(VmInstance, given.vm.uuid)
        if vm is not None:
            self._states.tell(tx, vm, vm.state, VmState.EXPUNGING, reason="its creation failed")
        erase(tx, VmInstance, given.vm.uuid)


class RecordNicsInput(Struct, frozen=True, kw_only=True):
    """The new VM, and the addresses that were claimed for it."""

    vm: VmDefinition
    place: Candidate
    addresses: list[ClaimedAddress]


class RecordNicsOutput(Struct, frozen=True, kw_only=True):
    """The network cards, in the order of the networks."""

    nics: list[NicSpec]


class RecordNics(TransactionStep[RecordNicsInput, RecordNicsOutput]):
    """Write the network cards down."""

    name = "vm.record-nics"
    title = "giving the VM its network cards"

    def __init__(self, ids: IdSource) -> None:
        self._ids = ids

    def do(self, tx: Tx, given: RecordNicsInput) -> RecordNicsOutput:
        """Insert one network card for each address, in the order of the networks."""
        nics = [self._nic(tx, given.vm, device, address) for device, address in enumerate(given.addresses)]
        for nic, address in zip(nics, given.addresses, strict=True):
            tx.insert(
                taken(
                    VmNic,
                    nic,
                    address,
                    given.place,
                    vm_instance_uuid=given.vm.uuid,
                    driver_type=nic_model(given.vm),
                    create_date=tx.now,
                    last_op_date=tx.now,
                )
            )
        return RecordNicsOutput(nics=nics)

    def _nic(self, tx: Tx, vm: VmDefinition, device: int, address: ClaimedAddress) -> NicSpec:
        uuid = self._ids.new()
        return taken(
            NicSpec,
            address,
            uuid=uuid,
            mac=new_mac(self._ids),
            device_id=device,
            internal_name=tap_name(uuid),
            is_default=address.l3_network_uuid == vm.default_l3_network_uuid,
        )

    def undo(self, tx: Tx, given: RecordNicsInput, made: RecordNicsOutput | None) -> None:
        """Delete all network cards of the VM; none is success."""
        tx.delete_where(VmNic, vm_instance_uuid=given.vm.uuid)


def tap_name(nic: str) -> str:
    """The name of a network card's tap on its host; Linux takes 15 characters."""
    return f"vnic{nic[-10:]}"


def new_mac(ids: IdSource) -> str:
    """A new MAC address: locally administered (IEEE 802), 40 of its bits random.

    Among a million cards two random ones of 40 bits meet with a probability of a third. The database refuses the second
    (`VmNic.mac` is unique), and then the transaction is run again and draws another.
    """
    digits = ids.new()[-10:]
    return ":".join(["fa", *(digits[at : at + 2] for at in range(0, 10, 2))])
