"""Network services on a real kernel: memory store, inline transactions, virtual clock, seeded ids, agents of paper."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar, cast
from zlib import crc32

from msgspec import Struct

from cairn.agents.protocol.network import (
    ChangeVxlanPeers,
    DhcpLeft,
    EnsureVxlan,
    RemoveDhcpEntries,
    VxlanPeers,
    tunnel_generation,
)
from cairn.agents.protocol.wire import AgentCommand, Done, Result
from cairn.kernel.api import Reference
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.engine import FlowProbe
from cairn.kernel.ids import NodeId, RandomIds
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.kernel.resource import write
from cairn.kernel.store.store import Tx
from cairn.plugins.flat_network.manifest import MANIFEST as FLAT
from cairn.services.cluster.manifest import MANIFEST as CLUSTER_SERVICE
from cairn.services.cluster.model import Cluster
from cairn.services.host.messages import CountHostChanges, HostChangeCounts, HostList, HostView, ListHosts
from cairn.services.host.provided import HostAgents, HostSyncs
from cairn.services.ids import ClusterId, HostId, L2NetworkId, L3NetworkId, ZoneId
from cairn.services.l2.manifest import MANIFEST as L2
from cairn.services.l2.messages import AttachL2NetworkToCluster, CreateL2NoVlanNetwork, CreateL2VxlanNetwork
from cairn.services.l3.manifest import MANIFEST as L3
from cairn.services.l3.messages import AddIpRange, CreateL3Network
from cairn.services.vm.extensions import VmNetworks
from cairn.services.vm.messages import ListVmNetworks, VmNetworkList
from cairn.services.zone.manifest import MANIFEST as ZONE_SERVICE
from cairn.services.zone.model import Zone
from cairn.testing.clock import VirtualClock
from cairn.testing.rig import small_context, stop

R = TypeVar("R", bound=Result)
NODE = NodeId("node")


def uuid(number: int, kind: int = 0) -> str:
    """An id that is easy to tell from others."""
    return f"{kind:08x}{number:024x}"


ZONE, OTHER_ZONE = ZoneId(uuid(1, 1)), ZoneId(uuid(2, 1))
CLUSTER, OTHER_CLUSTER, FAR_CLUSTER = ClusterId(uuid(1, 2)), ClusterId(uuid(2, 2)), ClusterId(uuid(3, 2))


class Agents(HostAgents):
    """Hosts' agents of paper: they note what they are told, and refuse what they are told to refuse."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, AgentCommand[Result]]] = []
        self.refuse: dict[str, CairnError] = {}  #: host, or command's name -> what it answers
        self.gates: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.ends: dict[tuple[str, str], set[str]] = {}  #: of tunnels, by host and bridge
        self.gated: set[str] = set()  #: hosts whose answers wait for their gate

    async def call(
        self, host: str, command: AgentCommand[R], *, timeout_seconds: float | None = None, idle: bool = False
    ) -> R:
        self.calls.append((host, cast("AgentCommand[Result]", command)))
        if host in self.gated:
            await self.gates[host].wait()
        for key in (host, command.name):
            if key in self.refuse:
                raise self.refuse[key]
        if isinstance(command, EnsureVxlan):
            self.ends[host, command.bridge] = {*command.peers, command.local_ip}
        if isinstance(command, ChangeVxlanPeers):
            return cast("R", VxlanPeers(fitted=self._fits(host, command)))
        return cast("R", DhcpLeft() if isinstance(command, RemoveDhcpEntries) else Done())

    def _fits(self, host: str, command: ChangeVxlanPeers) -> bool:
        ends = self.ends.get((host, command.bridge), set())
        ends = (ends | set(command.add)) - set(command.remove)
        if command.local_ip not in ends or tunnel_generation(ends) != command.generation:
            return False
        self.ends[host, command.bridge] = ends
        return True

    def take(self) -> list[tuple[str, AgentCommand[Result]]]:
        """What was called since the last time."""
        calls, self.calls = self.calls, []
        return calls


class Syncs(HostSyncs):
    """Does parts' work at once, and keeps why it failed."""

    def __init__(self) -> None:
        self.works: dict[str, Callable[[HostId, str], Awaitable[None]]] = {}
        self.failed: dict[tuple[str, str, str], CairnError] = {}  #: by host, kind and subject

    def register(self, kind: str, work: Callable[[HostId, str], Awaitable[None]]) -> None:
        self.works[kind] = work

    async def sync(
        self, host: HostId, kind: str, subject: str = "", *, work: Callable[[], Awaitable[None]] | None = None
    ) -> bool:
        part = (host, kind, subject)
        try:
            await (self.works[kind](host, subject) if work is None else work())
        except CairnError as error:
            self.failed[part] = error
            return False
        self.failed.pop(part, None)
        return True

    def later(self, host: HostId, kind: str, subject: str = "", *, reason: str) -> None:
        self.failed[(host, kind, subject)] = CairnError("test.later", reason)

    def failing(self, host: HostId, kind: str, subject: str = "") -> str | None:
        error = self.failed.get((host, kind, subject))
        return None if error is None else str(error)


def missing_interface() -> CairnError:
    return CairnError("agent.interface-missing", "This machine has no interface eth9.", kind=ErrorKind.CONFLICT)


def unreachable() -> CairnError:
    return CairnError("agent.unreachable", "It does not answer.", kind=ErrorKind.UNAVAILABLE)


class Rig:
    """A node with the services under test, and hosts and VMs that a test puts there."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.ids = RandomIds(seed=1)
        self.agents = Agents()
        self.syncs = Syncs()
        self.listed: list[ListHosts] = []
        self.extensions: Extensions
        self.probe = FlowProbe()
        self.hosts: dict[str, HostView] = {}
        self.vms: dict[str, list[VmNetworks]] = defaultdict(list)
        self.context: NodeContext

    async def start(self, manifests: Sequence[Manifest] = (L2, L3, FLAT)) -> Rig:
        """Build services as a node does."""
        stand_ins = Manifest(package=__name__, doc="Hosts and VMs of paper.", build=self._build)
        self.context = await small_context(
            [ZONE_SERVICE, CLUSTER_SERVICE, stand_ins, *manifests], self.clock, self.ids, probe=self.probe
        )
        await self.context.store.write(self._geography)
        await self.context.start_background()
        return self

    def _build(self, node: NodeContext) -> None:
        self.extensions = node.extensions
        node.provide(HostAgents, self.agents)
        node.provide(HostSyncs, self.syncs)
        node.bus.register(ListHosts, self._list_hosts)
        node.bus.register(CountHostChanges, self._count_changes)
        node.bus.register(ListVmNetworks, self._list_vms)

    async def stop(self) -> None:
        await stop(self.context)

    def _geography(self, tx: Tx) -> None:
        for zone in (ZONE, OTHER_ZONE):
            write(tx, Zone(uuid=zone, name=f"zone-{zone[-1]}", create_date=tx.now, last_op_date=tx.now))
        for cluster, zone in ((CLUSTER, ZONE), (OTHER_CLUSTER, ZONE), (FAR_CLUSTER, OTHER_ZONE)):
            write(
                tx,
                Cluster(
                    uuid=cluster,
                    name=f"cluster-{cluster[-1]}",
                    zone_uuid=zone,
                    hypervisor_type="Simulator",
                    create_date=tx.now,
                    last_op_date=tx.now,
                ),
            )

    async def _list_hosts(self, message: ListHosts) -> HostList:
        self.listed.append(message)
        hosts = [
            host
            for host in self.hosts.values()
            if host.cluster_uuid in message.cluster_uuids or host.uuid in message.host_uuids
        ]
        return HostList(hosts=hosts)

    async def _count_changes(self, message: CountHostChanges) -> HostChangeCounts:
        """Any number that is another one for other hosts does."""
        sets = {
            cluster: sorted(
                host.uuid + host.management_ip for host in self.hosts.values() if host.cluster_uuid == cluster
            )
            for cluster in message.cluster_uuids
        }
        return HostChangeCounts(changes={cluster: crc32("".join(found).encode()) for cluster, found in sets.items()})

    async def _list_vms(self, message: ListVmNetworks) -> VmNetworkList:
        return VmNetworkList(vms=self.vms[message.host_uuid])

    # -- short cuts -----------------------------------------------------------------------------------------------

    def host(
        self, number: int, cluster: ClusterId = CLUSTER, *, connected: bool = True, address: str | None = None
    ) -> HostId:
        """Put a host there."""
        host = HostId(uuid(number, 3))
        self.hosts[host] = HostView(
            uuid=host,
            name=f"host-{number}",
            cluster_uuid=cluster,
            zone_uuid=ZONE,
            management_ip=address or f"192.0.2.{number}",
            connected=connected,
            is_new=not connected,
        )
        return host

    async def settle(self) -> list[tuple[str, AgentCommand[Result]]]:
        """Let background work end; what agents were told since the last time."""
        await self.clock.advance(1.0)  # what is told to many has pauses
        return self.agents.take()

    async def l2(self, name: str = "wire", *, zone: str = ZONE, interface: str = "eth0") -> L2NetworkId:
        message = CreateL2NoVlanNetwork(
            resource_uuid=self.ids.new(), name=name, zone_uuid=zone, physical_interface=interface
        )
        return L2NetworkId((await self.context.bus.call(message)).uuid)

    async def vxlan(self, name: str = "tunnel", *, vni: int | None = None) -> L2NetworkId:
        message = CreateL2VxlanNetwork(resource_uuid=self.ids.new(), name=name, zone_uuid=ZONE, vni=vni)
        return L2NetworkId((await self.context.bus.call(message)).uuid)

    async def attach(self, l2: str, cluster: str = CLUSTER) -> Reference:
        return await self.context.bus.call(AttachL2NetworkToCluster(l2_network_uuid=l2, cluster_uuid=cluster))

    async def l3(self, l2: str, name: str = "lan") -> L3NetworkId:
        message = CreateL3Network(resource_uuid=self.ids.new(), name=name, l2_network_uuid=l2)
        return L3NetworkId((await self.context.bus.call(message)).uuid)

    async def add_range(self, l3: str, start: str, end: str, netmask: str = "255.255.255.0", **given: str) -> str:
        message = AddIpRange(
            resource_uuid=self.ids.new(),
            l3_network_uuid=l3,
            name=given.pop("name", "range"),
            start_ip=start,
            end_ip=end,
            netmask=netmask,
            gateway=given.pop("gateway", None),
        )
        return (await self.context.bus.call(message)).uuid

    def step(self, name: str) -> object:
        """The step of that name, as it was built."""
        return self.context.flows.book.step(name)

    async def shown(self, entity: str, uuid: str) -> dict[str, object]:
        """What the API shows of a resource."""
        found = await self.context.query.get(entity, uuid)
        assert found is not None
        return dict(found)


def names(calls: Sequence[tuple[str, Struct]]) -> list[tuple[int, str]]:
    """Calls as (number of the host, kind of command), sorted."""
    return sorted((int(host[8:], 16), type(command).__name__) for host, command in calls)
