"""Adding and connecting a host."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from msgspec import Struct
from sqlalchemy import func, select

from cairn.agents.protocol.host import Connect, Forget, HostFacts
from cairn.kernel.config import GlobalConfig
from cairn.kernel.error import CairnError, ErrorKind, not_found
from cairn.kernel.event import Events
from cairn.kernel.flow.engine import report_progress
from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing, TransactionStep
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.resource import erase, write
from cairn.kernel.store.record import table_of
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import Tags
from cairn.services.cluster.model import Cluster
from cairn.services.host import config
from cairn.services.host.directory import HostDirectory
from cairn.services.host.extensions import HostConnected, Hypervisor
from cairn.services.host.messages import HostStatusChanged
from cairn.services.host.model import Host, HostClaim, HostStatus


class RecordHostInput(Struct, frozen=True, kw_only=True):
    """A new host."""

    host_uuid: str
    name: str
    description: str | None
    management_ip: str
    cluster_uuid: str
    hypervisor_type: str
    system_tags: list[str]
    user_tags: list[str]


class RecordHost(TransactionStep[RecordHostInput, Nothing]):
    """Write the new host down, as Connecting."""

    name = "host.record"
    title = "writing the host down"

    def __init__(self, tags: Tags) -> None:
        self._tags = tags

    def do(self, tx: Tx, given: RecordHostInput) -> Nothing:
        """Refuse a second host with that address, or a cluster of another kind; else insert."""
        cluster = tx.get(Cluster, given.cluster_uuid)
        if cluster is None:
            raise not_found("cluster", "clusterUuid", given.cluster_uuid)
        if cluster.hypervisor_type != given.hypervisor_type:
            raise CairnError(
                "host.wrong-hypervisor",
                f"clusterUuid: the cluster {cluster.name} takes {cluster.hypervisor_type} hosts, and this is a "
                f"{given.hypervisor_type} host. Choose a cluster of that kind.",
                fields={
                    "clusterUuid": f"found a {cluster.hypervisor_type} cluster; a {given.hypervisor_type} one would fit"
                },
            )
        there = tx.find(Host, management_ip=given.management_ip)
        if there:
            raise CairnError(
                "host.address-taken",
                f"managementIp: {given.management_ip} is the host {there[0].name} ({there[0].uuid}) already. "
                "Reconnect that one, or delete it first.",
                kind=ErrorKind.CONFLICT,
                fields={"managementIp": f"found {given.management_ip!r}; an address that no other host has would fit"},
            )
        write(
            tx,
            Host(
                uuid=given.host_uuid,
                name=given.name,
                description=given.description,
                zone_uuid=cluster.zone_uuid,
                cluster_uuid=cluster.uuid,
                management_ip=given.management_ip,
                hypervisor_type=given.hypervisor_type,
                create_date=tx.now,
                last_op_date=tx.now,
            ),
        )
        self._tags.add(tx, "Host", given.host_uuid, system=given.system_tags, user=given.user_tags)
        return NOTHING

    def undo(self, tx: Tx, given: RecordHostInput, made: Nothing | None) -> None:
        """The host was never added."""
        self._tags.forget(tx, given.host_uuid)
        erase(tx, Host, given.host_uuid)


class HostInput(Struct, frozen=True, kw_only=True):
    """Which host."""

    host_uuid: str


class BeginConnect(TransactionStep[HostInput, Nothing]):
    """Mark the host as Connecting."""

    name = "host.begin-connect"
    title = "beginning to connect"

    def __init__(self, events: Events) -> None:
        self._events = events

    def do(self, tx: Tx, given: HostInput) -> Nothing:
        """Mark."""
        if not tx.get(Host, given.host_uuid):
            raise not_found("host", "uuid", given.host_uuid)
        tx.update(Host, given.host_uuid, status=HostStatus.CONNECTING, last_op_date=tx.now)
        return NOTHING

    def undo(self, tx: Tx, given: HostInput, made: Nothing | None) -> None:
        """It could not be connected."""
        set_status(tx, self._events, given.host_uuid, HostStatus.DISCONNECTED, "connecting failed")


class DeployHost(ActionStep[HostInput, Nothing]):
    """Put the agent on the host."""

    name = "host.deploy"
    title = "putting the agent on the host"
    nothing_to_undo: ClassVar[str | None] = "an agent without a host in the database does nothing; the next add uses it"

    def __init__(self, directory: HostDirectory, extensions: Extensions) -> None:
        self._directory = directory
        self._extensions = extensions

    async def do(self, given: HostInput) -> Nothing:
        """Deploy by the host's hypervisor driver."""
        host = await self._directory.host(given.host_uuid)
        await self._extensions.named(Hypervisor, host.hypervisor_type).deploy(given.host_uuid)
        self._directory.forget(given.host_uuid)
        return NOTHING


class ConnectHostOutput(Struct, frozen=True, kw_only=True):
    """What the host said of itself."""

    facts: HostFacts
    agent_boot: str


class ConnectAgent(ActionStep[HostInput, ConnectHostOutput]):
    """Tell the agent who it is, and let everyone prepare the host."""

    name = "host.connect"
    title = "connecting to the host"
    nothing_to_undo: ClassVar[str | None] = "what is prepared on a host is prepared again at the next connect"

    def __init__(self, directory: HostDirectory, extensions: Extensions, report_url: Callable[[], str | None]) -> None:
        self._directory = directory
        self._extensions = extensions
        self._report_url = report_url

    async def do(self, given: HostInput) -> ConnectHostOutput:
        """Connect."""
        host = given.host_uuid
        facts = await self._directory.connect(host, Connect(host=host, report_url=self._report_url()))
        hooks = self._extensions.of(HostConnected)
        for index, hook in enumerate(hooks):
            report_progress("preparing the host", (index + 1) / (len(hooks) + 1))
            await hook.host_connecting(host, facts)
        pong = await self._directory.ping(host, timeout_seconds=10.0)
        return ConnectHostOutput(facts=facts, agent_boot=pong.boot)


class ConnectNewAgent(ConnectAgent):
    """As `ConnectAgent`, for a host that is being added: it can be left as it was before."""

    name = "host.connect-new"
    nothing_to_undo: ClassVar[str | None] = None

    async def undo(self, given: HostInput, made: ConnectHostOutput | None) -> None:
        """The agent forgets the cloud; one that cannot be reached has not heard of it, or hears of it at the next add."""
        try:
            await self._directory.call(given.host_uuid, Forget(), timeout_seconds=30.0)
        except CairnError as error:
            if error.kind is not ErrorKind.UNAVAILABLE:
                raise


class FinishConnectInput(Struct, frozen=True, kw_only=True):
    """What is known now."""

    host_uuid: str
    facts: HostFacts
    agent_boot: str


class FinishConnect(TransactionStep[FinishConnectInput, Nothing]):
    """Write facts and capacity down; VMs may be placed from here on."""

    name = "host.finish-connect"
    title = "writing the host's facts down"

    def __init__(self, settings: GlobalConfig, events: Events) -> None:
        self._settings = settings
        self._events = events

    def do(self, tx: Tx, given: FinishConnectInput) -> Nothing:
        """Capacity is what the machine has, less what VMs hold by their claims."""
        facts = given.facts
        cpu_total = int(facts.cpu_num * self._settings.get(config.CPU_RATIO))
        memory_total = max(0, facts.memory_bytes - self._settings.get(config.RESERVED_MEMORY))
        cpu_used, memory_used = claimed(tx, given.host_uuid)
        tx.update(
            Host,
            given.host_uuid,
            architecture=facts.architecture,
            cpu_num=facts.cpu_num,
            cpu_sockets=facts.cpu_sockets,
            total_cpu_capacity=cpu_total,
            available_cpu_capacity=cpu_total - cpu_used,
            total_memory_capacity=memory_total,
            available_memory_capacity=memory_total - memory_used,
            accelerator=facts.accelerator,
            accelerator_note=facts.accelerator_note,
            os_distribution=facts.os_distribution,
            os_version=facts.os_version,
            kernel=facts.kernel,
            cpu_model=facts.cpu_model,
            libvirt_version=facts.libvirt_version,
            qemu_version=facts.qemu_version,
            features=facts.features,
            agent_boot=given.agent_boot,
        )
        set_status(tx, self._events, given.host_uuid, HostStatus.CONNECTED, None)
        return NOTHING

    def undo(self, tx: Tx, given: FinishConnectInput, made: Nothing | None) -> None:
        """It is not connected after all."""
        set_status(tx, self._events, given.host_uuid, HostStatus.DISCONNECTED, "connecting failed")


def claimed(tx: Tx, host: str) -> tuple[int, int]:
    """Virtual CPUs and bytes of memory that VMs hold of a host."""
    table = table_of(HostClaim)
    query = select(func.coalesce(func.sum(table.c.cpu_num), 0), func.coalesce(func.sum(table.c.memory_bytes), 0)).where(
        table.c.host_uuid == host
    )
    rows = tx.rows(query, {})
    return int(str(rows[0][0])), int(str(rows[0][1]))


def set_status(tx: Tx, events: Events, host: str, status: HostStatus, reason: str | None) -> bool:
    """Change a host's status and tell of it. Returns whether it changed; a host that is gone is left alone."""
    row = tx.get(Host, host)
    if row is None or (row.status is status and row.status_reason == reason):
        return False
    tx.update(Host, host, status=status, status_reason=reason, last_op_date=tx.now)
    if row.status is not status:
        event = HostStatusChanged(host=host, name=row.name, before=row.status.value, status=status.value, reason=reason)
        events.emit(tx, event, resource=host)
    return True
