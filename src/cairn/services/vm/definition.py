"""A VM's definition as one record: made once, of a message or of the VM's row, and passed on whole from there."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import field

from cairn.agents.protocol.vm import Hardware
from cairn.kernel.resource import taken
from cairn.kernel.store.store import Tx
from cairn.services.ids import HostId, L3NetworkId, VmId
from cairn.services.vm.extensions import NicSpec, VmNetworks
from cairn.services.vm.model import VmInstance, VmNic


class VmDefinition(Hardware, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """All that a VM's start needs to know of the VM itself.

    The fields that a hypervisor makes a domain of are those of `Hardware`, which goes to the VM's host as it is. Those that
    only networks and the guest need stand here.
    """

    uuid: VmId
    default_l3_network_uuid: L3NetworkId | None
    hostname: str
    #: The journals of earlier versions, which may have fields that are gone, have a text named ``userData``, which is not
    #: taken for base64.
    user_data: bytes | None = field(default=None, name="userDataBytes")
    ssh_keys: list[str] = []


def nic_model(vm: VmDefinition) -> str:
    """The kind of network card that the guest has a driver for."""
    return "virtio" if vm.virtio else "e1000"


def disk_bus(vm: VmDefinition) -> str:
    """The kind of disk that the guest has a driver for."""
    return "virtio" if vm.virtio else "ide"


def nic_specs(tx: Tx, vm: VmInstance) -> list[NicSpec]:
    """The VM's network cards, in the order of their device numbers."""
    return [_spec(vm, nic) for nic in tx.find(VmNic, vm_instance_uuid=vm.uuid, order_by="device_id")]


def nics_of(tx: Tx, vms: Sequence[VmInstance]) -> dict[VmId, list[NicSpec]]:
    """The network cards of several VMs, in one statement."""
    by_uuid = {vm.uuid: vm for vm in vms}
    found: dict[VmId, list[NicSpec]] = {vm.uuid: [] for vm in vms}
    for nic in tx.find(VmNic, vm_instance_uuid=list(by_uuid), order_by="device_id"):
        found[nic.vm_instance_uuid].append(_spec(by_uuid[nic.vm_instance_uuid], nic))
    return found


def _spec(vm: VmInstance, nic: VmNic) -> NicSpec:
    return taken(
        NicSpec,
        nic,
        ip=nic.ip or "",
        netmask=nic.netmask or "",
        gateway=nic.gateway or "",
        is_default=nic.l3_network_uuid == vm.default_l3_network_uuid,
    )


def networks(vm: VmInstance, host: HostId, nics: Sequence[NicSpec]) -> VmNetworks:
    """The VM as its networks on `host` see it."""
    return taken(VmNetworks, vm, host_uuid=host, nics=list(nics))
