"""The L2 service: what people ask of L2 networks."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct
from sqlalchemy import bindparam, select

from cairn.kernel.api import ApiCreate, Reference
from cairn.kernel.bus.bus import Bus
from cairn.kernel.config import GlobalConfig
from cairn.kernel.error import CairnError, ErrorKind, not_found
from cairn.kernel.flow.engine import FlowEngine
from cairn.kernel.flow.workflow import Workflow, workflow
from cairn.kernel.jobs import Jobs
from cairn.kernel.resource import gone, write
from cairn.kernel.store.record import table_of
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import Tags
from cairn.services.l2 import config
from cairn.services.l2.messages import (
    AttachL2NetworkToCluster,
    CreateL2NoVlanNetwork,
    CreateL2VxlanNetwork,
    DeleteL2Network,
    DetachL2NetworkFromCluster,
    UpdateL2Network,
)
from cairn.services.l2.model import L2Network, L2Type

_L2 = table_of(L2Network)
_VNIS = select(_L2.c.vni).where(_L2.c.vni.between(bindparam("first"), bindparam("last"))).order_by(_L2.c.vni)


class ClusterChange(Struct, frozen=True, kw_only=True):
    """Which network, and which cluster."""

    uuid: str
    cluster_uuid: str


ATTACH = Workflow(
    name="l2.attach", parameters=ClusterChange, answer=Reference, doc="Gives a cluster's hosts an L2 network."
)
DETACH = Workflow(
    name="l2.detach", parameters=ClusterChange, answer=Reference, doc="Takes an L2 network from a cluster's hosts."
)
DELETE = workflow(DeleteL2Network, unless=gone(L2Network))


class L2Service:
    """Answers the messages about L2 networks."""

    def __init__(
        self, bus: Bus, jobs: Jobs, flows: Callable[[], FlowEngine], tags: Tags, settings: GlobalConfig
    ) -> None:
        self._jobs = jobs
        self._flows = flows
        self._tags = tags
        self._settings = settings
        bus.register(CreateL2NoVlanNetwork, self.create_no_vlan)
        bus.register(CreateL2VxlanNetwork, self.create_vxlan)
        bus.register(UpdateL2Network, self.update)
        bus.register(AttachL2NetworkToCluster, self.attach)
        bus.register(DetachL2NetworkFromCluster, self.detach)

    async def create_no_vlan(self, message: CreateL2NoVlanNetwork) -> Reference:
        """Make a network of untagged frames."""

        def network(tx: Tx, uuid: str) -> L2Network:
            return L2Network(
                uuid=uuid,
                name=message.name,
                description=message.description,
                zone_uuid=message.zone_uuid,
                physical_interface=message.physical_interface,
                type=L2Type.NO_VLAN,
                create_date=tx.now,
                last_op_date=tx.now,
            )

        return await self._create(message, network)

    async def create_vxlan(self, message: CreateL2VxlanNetwork) -> Reference:
        """Make a network of tunnels."""

        def network(tx: Tx, uuid: str) -> L2Network:
            return L2Network(
                uuid=uuid,
                name=message.name,
                description=message.description,
                zone_uuid=message.zone_uuid,
                type=L2Type.VXLAN,
                vni=self._vni(tx, message.vni),
                create_date=tx.now,
                last_op_date=tx.now,
            )

        return await self._create(message, network)

    async def _create(self, message: ApiCreate, network: Callable[[Tx, str], L2Network]) -> Reference:
        uuid = message.resource_uuid
        assert uuid is not None  # the gateway fills it in
        self._tags.check("L2Network", message.system_tags)

        def fn(tx: Tx) -> Reference:
            write(tx, network(tx, uuid))
            self._tags.add(tx, "L2Network", uuid, system=message.system_tags, user=message.user_tags)
            return Reference(uuid=uuid)

        return await self._jobs.commit(fn)

    def _vni(self, tx: Tx, wanted: int | None) -> int:
        if wanted is not None:
            _check_vni_free(tx, wanted)
            return wanted
        first, last = self._settings.get(config.FIRST_VNI), self._settings.get(config.LAST_VNI)
        free = first
        for (taken,) in tx.rows(_VNIS, {"first": first, "last": last}):
            if taken != free:
                break
            free += 1
        if free > last:
            raise CairnError(
                "l2.no-free-vni",
                f"No VNI is free: the settings l2.vxlan.firstVni and l2.vxlan.lastVni allow {first} to {last}. Widen them, "
                "delete a VXLAN network, or name a VNI outside of them.",
                kind=ErrorKind.EXHAUSTED,
            )
        return free

    async def update(self, message: UpdateL2Network) -> Reference:
        """Change name or description."""

        def fn(tx: Tx) -> Reference:
            network = tx.get(L2Network, message.uuid)
            if network is None:
                raise not_found("l2-network", "uuid", message.uuid)
            tx.update(
                L2Network,
                network.uuid,
                name=message.name or network.name,
                description=network.description if message.description is None else message.description,
                last_op_date=tx.now,
            )
            return Reference(uuid=network.uuid)

        return await self._jobs.commit(fn)

    async def attach(self, message: AttachL2NetworkToCluster) -> Reference:
        """Give it to a cluster."""
        parameters = ClusterChange(uuid=message.l2_network_uuid, cluster_uuid=message.cluster_uuid)
        return await self._flows().run(ATTACH, parameters, queue=_queue(parameters.uuid))

    async def detach(self, message: DetachL2NetworkFromCluster) -> Reference:
        """Take it from a cluster."""
        parameters = ClusterChange(uuid=message.l2_network_uuid, cluster_uuid=message.cluster_uuid)
        return await self._flows().run(DETACH, parameters, queue=_queue(parameters.uuid))


def _queue(uuid: str) -> str:
    return f"l2:{uuid}"


def _check_vni_free(tx: Tx, vni: int) -> None:
    for other in tx.find(L2Network, vni=vni):
        raise CairnError(
            "l2.vni-taken",
            f"vni: found {vni}, which is the L2 network {other.name} ({other.uuid}) already. Take another, or leave it out "
            "and a free one is chosen.",
            kind=ErrorKind.CONFLICT,
            fields={"vni": f"found {vni}; one that no L2 network has would fit"},
        )
