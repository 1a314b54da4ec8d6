"""Hosts, and VMs' claims on them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from cairn.kernel.machine.model import Machine
from cairn.kernel.store.record import AdminOnly, Doc, Key, Record, References, TableMeta, Text, Unique, Unit, Visible
from cairn.services.ids import ClusterId, HostId, VmId, ZoneId


class HostState(StrEnum):
    """The state that people want a host to be in."""

    ENABLED = "Enabled"  #: VMs may be placed on it
    DISABLED = "Disabled"  #: no new VMs; those that run stay
    MAINTENANCE = "Maintenance"  #: no VMs, not watched


class Host(Machine, frozen=True, kw_only=True):
    """A machine that runs VMs."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="host",
        entity="Host",
        visible=Visible.PUBLIC,
        columns=(
            "name",
            "uuid",
            "status",
            "state",
            "managementIp",
            "hypervisorType",
            "availableCpuCapacity",
            "availableMemoryCapacity",
        ),
        indexes=(("state", "status", "available_memory_capacity"),),
    )

    uuid: Annotated[HostId, Key()]
    zone_uuid: Annotated[ZoneId, References("zone", join="zone", back="hosts")]
    cluster_uuid: Annotated[ClusterId, References("cluster", join="cluster", back="hosts")]
    management_ip: Annotated[str, AdminOnly(), Unique(), Doc("where it is reached: an IPv4 address or a name")]
    hypervisor_type: Annotated[str, Doc("KVM or Simulator")]
    state: HostState = HostState.ENABLED
    architecture: str = ""
    cpu_num: Annotated[int, AdminOnly(), Doc("logical processors")] = 0
    cpu_sockets: Annotated[int, AdminOnly()] = 0
    memory_bytes: Annotated[int, AdminOnly(), Unit("bytes"), Doc("physical")] = 0
    total_cpu_capacity: Annotated[int, AdminOnly(), Doc("virtual CPUs that may be given to VMs")] = 0
    available_cpu_capacity: Annotated[int, AdminOnly(), Doc("virtual CPUs that are free")] = 0
    total_memory_capacity: Annotated[int, AdminOnly(), Unit("bytes")] = 0
    available_memory_capacity: Annotated[int, AdminOnly(), Unit("bytes")] = 0
    accelerator: Annotated[str, AdminOnly(), Doc("kvm, or tcg where the hardware's help cannot be used")] = ""
    accelerator_note: Annotated[str, AdminOnly(), Text(1024), Doc("why it is not kvm")] = ""
    os_distribution: Annotated[str, AdminOnly()] = ""
    os_version: Annotated[str, AdminOnly()] = ""
    kernel: Annotated[str, AdminOnly()] = ""
    cpu_model: Annotated[str, AdminOnly()] = ""
    libvirt_version: Annotated[str, AdminOnly()] = ""
    qemu_version: Annotated[str, AdminOnly()] = ""
    features: Annotated[dict[str, bool], AdminOnly(), Doc("what its kernel can do")] = {}


class HostClaim(Record, frozen=True, kw_only=True):
    """The capacity that a VM takes of a host; one row for each VM, so that taking and giving back are safe to repeat."""

    meta: ClassVar[TableMeta] = TableMeta(table="host_claim")

    vm_uuid: Annotated[VmId, Key()]
    host_uuid: Annotated[HostId, References("host")]
    cpu_num: int
    memory_bytes: int
