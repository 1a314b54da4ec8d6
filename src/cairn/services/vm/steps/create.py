"""Creating a VM: the steps that the VM service adds to those of hosts, storage and networks."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from cairn.kernel.error import CairnError, ErrorKind, invalid, not_found
from cairn.kernel.flow.step import NOTHING, Nothing, TransactionStep
from cairn.kernel.ids import IdSource
from cairn.kernel.resource import EnabledState, erase, write
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import Tags
from cairn.services.host.extensions import HostNeed
from cairn.services.image.messages import ImageSpec
from cairn.services.l3.messages import ClaimedAddress
from cairn.services.offering.model import InstanceOffering
from cairn.services.vm.extensions import NicSpec
from cairn.services.vm.model import VmInstance, VmNic, VmState
from cairn.services.vm.states import VmStates
from cairn.services.vm.tags import from_tags


class CreateParameters(Struct, frozen=True, kw_only=True):
    """What a creation starts from."""

    vm_uuid: str
    name: str
    description: str | None
    account_uuid: str
    image_uuid: str
    l3_network_uuids: list[str]
    default_l3_network_uuid: str | None
    instance_offering_uuid: str | None
    cpu_num: int | None
    memory_size: int | None
    root_disk_size: int | None
    zone_uuid: str | None
    cluster_uuid: str | None
    host_uuid: str | None
    primary_storage_uuid: str | None
    system_tags: list[str]
    user_tags: list[str]


class VmAnswer(Struct, frozen=True, kw_only=True):
    """Which VM it was."""

    vm_uuid: str


class PrepareInput(Struct, frozen=True, kw_only=True):
    """What was asked for."""

    vm_uuid: str
    name: str
    image: ImageSpec
    l3_network_uuids: list[str]
    default_l3_network_uuid: str | None
    instance_offering_uuid: str | None
    cpu_num: int | None
    memory_size: int | None
    root_disk_size: int | None
    zone_uuid: str | None
    cluster_uuid: str | None
    host_uuid: str | None
    primary_storage_uuid: str | None
    system_tags: list[str]


class PrepareOutput(Struct, frozen=True, kw_only=True):
    """What it comes to."""

    root_volume_uuid: str
    root_size_bytes: int
    vm_cpu_num: int
    vm_memory_bytes: int
    vm_default_l3: str
    hostname: str
    user_data: str | None
    ssh_keys: list[str]
    host_need: HostNeed


class PrepareVm(TransactionStep[PrepareInput, PrepareOutput]):
    """Work out sizes, host name and needs."""

    name = "vm.prepare"
    title = "working out what the VM needs"
    nothing_to_undo: ClassVar[str | None] = "it only reads and computes"

    def __init__(self, ids: IdSource) -> None:
        self._ids = ids

    def do(self, tx: Tx, given: PrepareInput) -> PrepareOutput:
        """Compute."""
        cpu_num, memory = self._size(tx, given)
        default_l3 = given.default_l3_network_uuid or given.l3_network_uuids[0]
        _check_networks(given.l3_network_uuids, default_l3)
        size = given.root_disk_size or given.image.size_bytes
        if size < given.image.size_bytes:
            raise invalid(
                "vm.disk-too-small",
                "rootDiskSize",
                size,
                f"at least the image's {given.image.size_bytes} bytes would fit",
            )
        hostname, user_data, keys = from_tags(given.system_tags, given.name)
        need = HostNeed(
            vm_uuid=given.vm_uuid,
            cpu_num=cpu_num,
            memory_bytes=memory,
            disk_bytes=size,
            image_uuid=given.image.uuid,
            l3_network_uuids=given.l3_network_uuids,
            zone_uuid=given.zone_uuid,
            cluster_uuid=given.cluster_uuid,
            host_uuid=given.host_uuid,
            primary_storage_uuid=given.primary_storage_uuid,
        )
        return PrepareOutput(
            root_volume_uuid=self._ids.new(),
            root_size_bytes=size,
            vm_cpu_num=cpu_num,
            vm_memory_bytes=memory,
            vm_default_l3=default_l3,
            hostname=hostname,
            user_data=user_data,
            ssh_keys=keys,
            host_need=need,
        )

    def _size(self, tx: Tx, given: PrepareInput) -> tuple[int, int]:
        if given.instance_offering_uuid is None:
            if given.cpu_num is None or given.memory_size is None:
                raise CairnError(
                    "vm.no-size",
                    "The VM has no size: give instanceOfferingUuid, or both cpuNum and memorySize (bytes).",
                    fields={"instanceOfferingUuid": "found nothing; an offering, or cpuNum and memorySize, would fit"},
                )
            return given.cpu_num, given.memory_size
        if given.cpu_num is not None or given.memory_size is not None:
            raise CairnError(
                "vm.two-sizes",
                "The VM has two sizes: give either instanceOfferingUuid, or cpuNum and memorySize.",
                fields={"cpuNum": "leave it out when an offering is given"},
            )
        offering = tx.get(InstanceOffering, given.instance_offering_uuid)
        if offering is None:
            raise not_found("instance-offering", "instanceOfferingUuid", given.instance_offering_uuid)
        if offering.state is not EnabledState.ENABLED:
            raise CairnError(
                "vm.offering-disabled",
                f"instanceOfferingUuid: the offering {offering.name} is disabled. Enable it or choose another.",
                kind=ErrorKind.CONFLICT,
            )
        return offering.cpu_num, offering.memory_size


def _check_networks(networks: list[str], default: str) -> None:
    if len(set(networks)) != len(networks):
        raise invalid("vm.network-twice", "l3NetworkUuids", networks, "each network at most once would fit")
    if default not in networks:
        raise invalid("vm.default-network", "defaultL3NetworkUuid", default, "one of l3NetworkUuids would fit")


class RecordInput(Struct, frozen=True, kw_only=True):
    """All that is known of the VM."""

    vm_uuid: str
    name: str
    description: str | None
    account_uuid: str
    image: ImageSpec
    instance_offering_uuid: str | None
    vm_cpu_num: int
    vm_memory_bytes: int
    vm_default_l3: str
    hostname: str
    user_data: str | None
    ssh_keys: list[str]
    root_volume_uuid: str
    placed_host_uuid: str
    placed_cluster_uuid: str
    placed_zone_uuid: str
    hypervisor_type: str
    system_tags: list[str]
    user_tags: list[str]


class RecordVm(TransactionStep[RecordInput, Nothing]):
    """Write the VM down, as Starting."""

    name = "vm.record"
    title = "writing the VM down"

    def __init__(self, tags: Tags, states: VmStates) -> None:
        self._tags = tags
        self._states = states

    def do(self, tx: Tx, given: RecordInput) -> Nothing:
        """Insert."""
        vm = VmInstance(
            uuid=given.vm_uuid,
            name=given.name,
            description=given.description,
            account_uuid=given.account_uuid,
            zone_uuid=given.placed_zone_uuid,
            cluster_uuid=given.placed_cluster_uuid,
            host_uuid=given.placed_host_uuid,
            last_host_uuid=given.placed_host_uuid,
            image_uuid=given.image.uuid,
            instance_offering_uuid=given.instance_offering_uuid,
            root_volume_uuid=given.root_volume_uuid,
            default_l3_network_uuid=given.vm_default_l3,
            platform=given.image.platform,
            architecture=given.image.architecture,
            guest_os_type=given.image.guest_os_type,
            hypervisor_type=given.hypervisor_type,
            cpu_num=given.vm_cpu_num,
            memory_size=given.vm_memory_bytes,
            state=VmState.STARTING,
            hostname=given.hostname,
            user_data=given.user_data,
            ssh_keys=given.ssh_keys,
            create_date=tx.now,
            last_op_date=tx.now,
        )
        write(tx, vm)
        if given.system_tags or given.user_tags:
            self._tags.add(tx, "VmInstance", vm.uuid, system=given.system_tags, user=given.user_tags)
        return NOTHING

    def undo(self, tx: Tx, given: RecordInput, made: Nothing | None) -> None:
        """The VM never was."""
        vm = tx.get(VmInstance, given.vm_uuid)
        if vm is not None:
            self._states.tell(tx, vm, vm.state, VmState.EXPUNGING, reason="its creation failed")
        self._tags.forget(tx, given.vm_uuid)
        erase(tx, VmInstance, given.vm_uuid)


class RecordNicsInput(Struct, frozen=True, kw_only=True):
    """The VM's addresses."""

    vm_uuid: str
    vm_default_l3: str
    hypervisor_type: str
    addresses: list[ClaimedAddress]


class RecordNicsOutput(Struct, frozen=True, kw_only=True):
    """Its network cards."""

    nics: list[NicSpec]


class RecordNics(TransactionStep[RecordNicsInput, RecordNicsOutput]):
    """Write the network cards down."""

    name = "vm.record-nics"
    title = "giving the VM its network cards"

    def __init__(self, ids: IdSource) -> None:
        self._ids = ids

    def do(self, tx: Tx, given: RecordNicsInput) -> RecordNicsOutput:
        """Insert one card an address, in their order."""
        nics = [self._nic(tx, given, device, address) for device, address in enumerate(given.addresses)]
        for nic, address in zip(nics, given.addresses, strict=True):
            tx.insert(
                VmNic(
                    uuid=nic.uuid,
                    vm_instance_uuid=given.vm_uuid,
                    l3_network_uuid=nic.l3_network_uuid,
                    used_ip_uuid=address.used_ip_uuid,
                    ip=nic.ip,
                    netmask=nic.netmask,
                    gateway=nic.gateway,
                    mac=nic.mac,
                    device_id=nic.device_id,
                    internal_name=nic.internal_name,
                    hypervisor_type=given.hypervisor_type,
                    create_date=tx.now,
                    last_op_date=tx.now,
                )
            )
        return RecordNicsOutput(nics=nics)

    def _nic(self, tx: Tx, given: RecordNicsInput, device: int, address: ClaimedAddress) -> NicSpec:
        uuid = self._ids.new()
        return NicSpec(
            uuid=uuid,
            mac=new_mac(tx, self._ids),
            ip=address.ip,
            netmask=address.netmask,
            gateway=address.gateway,
            l3_network_uuid=address.l3_network_uuid,
            device_id=device,
            internal_name=f"vnic{uuid[-10:]}",
            is_default=address.l3_network_uuid == given.vm_default_l3,
        )

    def undo(self, tx: Tx, given: RecordNicsInput, made: RecordNicsOutput | None) -> None:
        """Remove them."""
        tx.delete_where(VmNic, vm_instance_uuid=given.vm_uuid)


def new_mac(tx: Tx, ids: IdSource) -> str:
    """A MAC address that no network card has: locally administered (IEEE 802), 40 of its bits random.

    Among a million cards two random ones of 40 bits meet with a probability of a third, so it is looked up.
    """
    while True:
        digits = ids.new()[-10:]
        mac = ":".join(["fa", *(digits[at : at + 2] for at in range(0, 10, 2))])
        if not tx.count(VmNic, mac=mac):
            return mac
