"""Hosts, and VMs' claims on them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from cairn.kernel.machine.model import Machine
from cairn.kernel.store.record import (
    AdminOnly,
    Doc,
    Index,
    Key,
    Record,
    References,
    TableMeta,
    Text,
    Unique,
    Unit,
    Visible,
)
from cairn.services.ids import ClusterId, HostId, VmId, ZoneId


class HostState(StrEnum):
    """The state that people want a host to be in."""

    ENABLED = "Enabled"  #: VMs may be placed on it
    DISABLED = "Disabled"  #: no new VMs; those that run stay
    MAINTENANCE = "Maintenance"  #: no VMs; somebody works on it


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
        indexes=(
            ("state", "status", "architecture", "available_memory_capacity", "uuid"),
            ("state", "status", "architecture", "available_cpu_capacity", "uuid"),
            ("cluster_uuid", "state", "status", "architecture", "available_memory_capacity", "uuid"),
        ),
        # what calls to its agent depend on, and what is known to be on it; not what a VM claims of it
        remembered=frozenset({"status", "agent_boot", "agent_protocol", "management_ip", "architecture"}),
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


class HostChanges(Record, frozen=True, kw_only=True):
    """How often the set of a cluster's hosts, or an address of one, has changed; no row: never.

    Who keeps something that is made from all hosts of a cluster sees by one row that it is still right.
    """

    meta: ClassVar[TableMeta] = TableMeta(table="host_changes")

    cluster_uuid: Annotated[ClusterId, Key(), References("cluster", on_delete="cascade")]
    number: int


class HostClaim(Record, frozen=True, kw_only=True):
    """The capacity that a VM takes of a host; one row for each VM, so that taking and giving back are safe to repeat."""

    meta: ClassVar[TableMeta] = TableMeta(table="host_claim")

    vm_uuid: Annotated[VmId, Key()]
    host_uuid: Annotated[HostId, References("host")]
    cpu_num: int
    memory_bytes: int
    starts: bool = True  #: whether the VM is to run there; False: only its disk is made there


class HostDebt(Record, frozen=True, kw_only=True):
    """Something that was removed from the cloud by force, and is still to be removed on a machine that could not be reached.

    It is collected when the machine returns: as the same host, or added again (the machine knows which host it was).
    """

    meta: ClassVar[TableMeta] = TableMeta(
        table="host_debt",
        remembered=True,
        entity="HostDebt",
        visible=Visible.ADMIN,
        path="/hosts/debts",
        columns=("uuid", "hostName", "managementIp", "kind", "what", "createDate"),
    )

    uuid: Annotated[str, Key()]
    host_uuid: Annotated[HostId, Index(), Doc("which host the machine was; it may have left the cloud since")]
    host_name: str
    management_ip: str
    kind: Annotated[str, Doc("what is to be removed: vm, file")]
    what: Annotated[str, Text(2048), Doc("which one: a VM's uuid, a path")]
    reason: Annotated[str, Text(2048), Doc("why it could not be removed")]
    create_date: datetime


class HostFault(Record, frozen=True, kw_only=True):
    """A part of a host that could not be brought in line with the database; it is tried again from time to time.

    The host is Connected nevertheless.
    """

    meta: ClassVar[TableMeta] = TableMeta(
        table="host_fault",
        remembered=True,
        entity="HostFault",
        visible=Visible.ADMIN,
        path="/hosts/faults",
        columns=("hostUuid", "kind", "subject", "reason", "createDate"),
        unique_together=(("host_uuid", "kind", "subject"),),
    )

    uuid: Annotated[str, Key()]
    host_uuid: Annotated[HostId, References("host", join="host", back="faults", on_delete="cascade")]
    kind: Annotated[str, Doc("which part: an L2 network, the flat networks, debts")]
    subject: Annotated[str, Doc("which one of them, where there are several: the L2 network's uuid")] = ""
    reason: Annotated[str, Text(2048)]
    create_date: datetime
