"""Seeing that a VM's networks are there on its host."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from cairn.kernel.clock import Clock
from cairn.kernel.error import not_found
from cairn.kernel.flow.step import ActionStep
from cairn.kernel.recent import Recent
from cairn.kernel.store.record import info
from cairn.kernel.store.store import Store, Tx
from cairn.services.host.extensions import Candidate
from cairn.services.ids import L2NetworkId, L3NetworkId
from cairn.services.l2.model import L2Network
from cairn.services.l2.provided import L2Networks
from cairn.services.l3.extensions import NetworkChanged
from cairn.services.l3.model import L3Network
from cairn.services.l3.provided import L3Networks


class RealizeInput(Struct, frozen=True, kw_only=True):
    """The VM's networks, and the host where they are needed."""

    place: Candidate
    l3_network_uuids: list[L3NetworkId]


class RealizeOutput(Struct, frozen=True, kw_only=True):
    """The bridges that the VM's network cards are put into."""

    bridges: dict[str, str]  #: L3 network uuid -> bridge
    mtus: dict[str, int]  #: L3 network uuid -> bytes that a frame may carry


class Bridge(Struct, frozen=True, kw_only=True):
    """A bridge that the network cards of an L3 network are put into."""

    l2_network_uuid: L2NetworkId
    name: str
    mtu: int


class Bridges(NetworkChanged):
    """Knows the bridges of L3 networks, as a rule without asking the database."""

    def __init__(self, store: Store, clock: Clock, networks: L3Networks) -> None:
        self._store = store
        self._networks = networks
        self._known = Recent(clock, self._read)

    async def of(self, l3_networks: list[L3NetworkId]) -> dict[L3NetworkId, Bridge]:
        """The bridges of all of these networks (``l3.not-found``)."""
        found = await self._known.get(l3_networks)
        for uuid in l3_networks:
            if uuid not in found:
                raise not_found(info(L3Network).noun, "l3NetworkUuids", uuid, info(L3Network).title)
        return found

    def network_changed(self, l3_network: L3NetworkId) -> None:
        """Forget the network's bridge: it is looked up when it is needed again."""
        self._known.drop(l3_network)

    async def _read(self, l3_networks: list[L3NetworkId]) -> dict[L3NetworkId, Bridge]:
        def fn(tx: Tx) -> dict[L3NetworkId, Bridge]:
            places = self._networks.places(tx, l3_networks)
            l2 = {row.uuid: row for row in tx.find(L2Network, uuid={p.l2_network_uuid for p in places.values()})}
            return {uuid: _bridge(l2[place.l2_network_uuid]) for uuid, place in places.items()}

        return await self._store.read(fn)


def _bridge(network: L2Network) -> Bridge:
    return Bridge(l2_network_uuid=network.uuid, name=network.bridge, mtu=network.mtu)


class Realize(ActionStep[RealizeInput, RealizeOutput]):
    """See that the bridges of a VM's networks are there on its host."""

    name = "l3.realize"
    title = "preparing the host's networks"
    nothing_to_undo: ClassVar[str | None] = "the bridges belong to the cluster's hosts, with or without this VM"

    def __init__(self, bridges: Bridges, l2: L2Networks) -> None:
        self._bridges = bridges
        self._l2 = l2

    async def do(self, given: RealizeInput) -> RealizeOutput:
        """Look the bridges up; make those that this node has not seen since the host's last connect."""
        found = await self._bridges.of(given.l3_network_uuids)
        await self._l2.ensure(given.place.host_uuid, {bridge.l2_network_uuid for bridge in found.values()})
        return RealizeOutput(
            bridges={uuid: bridge.name for uuid, bridge in found.items()},
            mtus={uuid: bridge.mtu for uuid, bridge in found.items()},
        )
