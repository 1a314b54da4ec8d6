"""Network services on a real kernel: memory store, inline transactions, virtual clock, seeded ids, agents of paper."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar, cast

from msgspec import Struct

from cairn.agents.protocol.wire import AgentCommand, Done, Result
from cairn.kernel.api import Reference
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.transport import NoTransport
from cairn.kernel.cascade import Cascade, DeleteChildren
from cairn.kernel.config import GlobalConfig, GlobalConfigRow
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.event import EventRow, Events
from cairn.kernel.flow.engine import FlowEngine, FlowProbe
from cairn.kernel.flow.journal import FlowRun
from cairn.kernel.flow.workflow import WorkflowBook, read_source
from cairn.kernel.ids import NodeId, RandomIds
from cairn.kernel.jobs import Job, Jobs
from cairn.kernel.metrics import Metrics
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.plugin.manifest import Manifest, Parts
from cairn.kernel.query.catalog import TagTables
from cairn.kernel.query.engine import QueryEngine
from cairn.kernel.queue import ResourceQueues
from cairn.kernel.ring import Ring
from cairn.kernel.store.record import Record
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Store, Tx
from cairn.kernel.tag import SystemTag, Tags, UserTag
from cairn.plugins.flat_network.manifest import MANIFEST as FLAT
from cairn.services.cluster.model import Cluster
from cairn.services.host.extensions import HostAgents
from cairn.services.host.messages import HostList, HostView, ListHosts
from cairn.services.l2.manifest import MANIFEST as L2
from cairn.services.l2.messages import AttachL2NetworkToCluster, CreateL2NoVlanNetwork, CreateL2VxlanNetwork
from cairn.services.l3.manifest import MANIFEST as L3
from cairn.services.l3.messages import AddIpRange, CreateL3Network
from cairn.services.vm.messages import ListVmNetworks, VmNetworkList, VmNetworks
from cairn.services.zone.model import Zone
from cairn.settings import Settings
from cairn.testing.clock import VirtualClock

R = TypeVar("R", bound=Result)
NODE = NodeId("node")


def uuid(number: int, kind: int = 0) -> str:
    """An id that is easy to tell from others."""
    return f"{kind:08x}{number:024x}"


ZONE, OTHER_ZONE = uuid(1, 1), uuid(2, 1)
CLUSTER, OTHER_CLUSTER, FAR_CLUSTER = uuid(1, 2), uuid(2, 2), uuid(3, 2)


class Agents:
    """Hosts' agents of paper: they note what they are told, and refuse what they are told to refuse."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, AgentCommand[Result]]] = []
        self.refuse: dict[str, CairnError] = {}  #: host, or command's name -> what it answers
        self.gates: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.gated: set[str] = set()  #: hosts whose answers wait for their gate

    async def call(self, host: str, command: AgentCommand[R], *, timeout_seconds: float | None = None) -> R:
        self.calls.append((host, cast("AgentCommand[Result]", command)))
        if host in self.gated:
            await self.gates[host].wait()
        for key in (host, command.name):
            if key in self.refuse:
                raise self.refuse[key]
        return cast("R", Done())

    def take(self) -> list[tuple[str, AgentCommand[Result]]]:
        """What was called since the last time."""
        calls, self.calls = self.calls, []
        return calls


def missing_interface() -> CairnError:
    return CairnError("agent.interface-missing", "This machine has no interface eth9.", kind=ErrorKind.CONFLICT)


def unreachable() -> CairnError:
    return CairnError("agent.unreachable", "It does not answer.", kind=ErrorKind.UNAVAILABLE)


def make_parts(**given: object) -> Parts:
    """Only the parts that these services ask for."""
    parts = Parts.__new__(Parts)
    for name, value in given.items():
        setattr(parts, name, value)
    parts.steps, parts.background = [], []
    return parts


class Rig:
    """A node with the services under test, and hosts and VMs that a test puts there."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.ids = RandomIds(seed=1)
        self.agents = Agents()
        self.extensions = Extensions()
        self.probe = FlowProbe()
        self.hosts: dict[str, HostView] = {}
        self.vms: dict[str, list[VmNetworks]] = defaultdict(list)
        self.parts: Parts

    async def start(self, manifests: Sequence[Manifest] = (L2, L3, FLAT), records: Sequence[type[Record]] = ()) -> Rig:
        """Build services as a node does."""
        kernel = (GlobalConfigRow, SystemTag, UserTag, EventRow, FlowRun, Job, Zone, Cluster)
        schema = Schema([*kernel, *(record for manifest in manifests for record in manifest.records), *records])
        store = await Store.memory(schema, self.clock, inline=True)
        ring, metrics = Ring(), Metrics()
        ring.set_members([NODE], 1)
        bus = Bus(NODE, ring, NoTransport(), self.clock, metrics, self.ids)
        config = GlobalConfig(store, [setting for manifest in manifests for setting in manifest.settings])
        jobs = Jobs(
            store=store,
            bus=bus,
            clock=self.clock,
            metrics=metrics,
            render=lambda tx, message, answer: b"{}",
            parallelism=lambda: 100,
            retention_seconds=lambda: 60.0,
        )
        queues = ResourceQueues(self.clock, metrics)
        self.parts = make_parts(
            node=NODE,
            settings=Settings(data_dir=Path("unused")),
            report_url=lambda: None,
            store=store,
            bus=bus,
            ring=ring,
            clock=self.clock,
            ids=self.ids,
            queues=queues,
            jobs=jobs,
            events=Events(store, self.clock, lambda: 60.0),
            config=config,
            tags=Tags(self.ids, [tag for manifest in manifests for tag in manifest.tags]),
            query=QueryEngine(schema, store, tags=TagTables()),
            metrics=metrics,
            extensions=self.extensions,
            cascade=(cascade := Cascade(store, bus)),
        )
        self.parts.steps.append(DeleteChildren(cascade, schema))
        self.extensions.provide(HostAgents, self.agents, name="host")
        bus.register(ListHosts, self._list_hosts)
        bus.register(ListVmNetworks, self._list_vms)
        for manifest in manifests:
            manifest.build(self.parts)
        flows = FlowEngine(
            store=store,
            book=WorkflowBook(
                [workflow for manifest in manifests for workflow in manifest.workflows],
                self.parts.steps,
                [read_source(manifest.workflow_file) for manifest in manifests if manifest.workflow_file],
            ),
            clock=self.clock,
            ids=self.ids,
            queues=queues,
            finish=jobs.finish,
            fence=lambda tx: 1,
            retry_seconds=lambda: 10.0,
            probe=self.probe,
        )
        self.parts.complete(flows)
        jobs.attach(flows)
        await config.start()
        await store.write(self._geography)
        for background in self.parts.background:
            await background.start()
        return self

    async def stop(self) -> None:
        for background in self.parts.background:
            await background.stop()
        await self.parts.flows.stop()
        await self.parts.bus.stop()
        await self.parts.store.close()

    def _geography(self, tx: Tx) -> None:
        for zone in (ZONE, OTHER_ZONE):
            tx.insert(Zone(uuid=zone, name=f"zone-{zone[-1]}", create_date=tx.now, last_op_date=tx.now))
        for cluster, zone in ((CLUSTER, ZONE), (OTHER_CLUSTER, ZONE), (FAR_CLUSTER, OTHER_ZONE)):
            tx.insert(
                Cluster(
                    uuid=cluster,
                    name=f"cluster-{cluster[-1]}",
                    zone_uuid=zone,
                    hypervisor_type="Simulator",
                    create_date=tx.now,
                    last_op_date=tx.now,
                )
            )

    async def _list_hosts(self, message: ListHosts) -> HostList:
        hosts = [
            host
            for host in self.hosts.values()
            if host.cluster_uuid in message.cluster_uuids or host.uuid in message.host_uuids
        ]
        return HostList(hosts=hosts)

    async def _list_vms(self, message: ListVmNetworks) -> VmNetworkList:
        return VmNetworkList(vms=self.vms[message.host_uuid])

    # -- short cuts -----------------------------------------------------------------------------------------------

    def host(self, number: int, cluster: str = CLUSTER, *, connected: bool = True, address: str | None = None) -> str:
        """Put a host there."""
        host = uuid(number, 3)
        self.hosts[host] = HostView(
            uuid=host,
            name=f"host-{number}",
            cluster_uuid=cluster,
            zone_uuid=ZONE,
            management_ip=address or f"192.0.2.{number}",
            connected=connected,
        )
        return host

    async def settle(self) -> list[tuple[str, AgentCommand[Result]]]:
        """Let background work end; what agents were told since the last time."""
        await self.clock.settle()
        return self.agents.take()

    async def l2(self, name: str = "wire", *, zone: str = ZONE, interface: str = "eth0") -> str:
        message = CreateL2NoVlanNetwork(
            resource_uuid=self.ids.new(), name=name, zone_uuid=zone, physical_interface=interface
        )
        return (await self.parts.bus.call(message)).uuid

    async def vxlan(self, name: str = "tunnel", *, vni: int | None = None) -> str:
        message = CreateL2VxlanNetwork(resource_uuid=self.ids.new(), name=name, zone_uuid=ZONE, vni=vni)
        return (await self.parts.bus.call(message)).uuid

    async def attach(self, l2: str, cluster: str = CLUSTER) -> Reference:
        return await self.parts.bus.call(AttachL2NetworkToCluster(l2_network_uuid=l2, cluster_uuid=cluster))

    async def l3(self, l2: str, name: str = "lan") -> str:
        message = CreateL3Network(resource_uuid=self.ids.new(), name=name, l2_network_uuid=l2)
        return (await self.parts.bus.call(message)).uuid

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
        return (await self.parts.bus.call(message)).uuid

    def step(self, name: str) -> object:
        """The step of that name, as it was built."""
        return self.parts.flows.book.step(name)

    async def shown(self, entity: str, uuid: str) -> dict[str, object]:
        """What the API shows of a resource."""
        found = await self.parts.query.get(entity, uuid)
        assert found is not None
        return dict(found)


def names(calls: Sequence[tuple[str, Struct]]) -> list[tuple[int, str]]:
    """Calls as (number of the host, kind of command), sorted."""
    return sorted((int(host[8:], 16), type(command).__name__) for host, command in calls)
