"""Seeing that a VM's networks are there on its host."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from cairn.kernel.error import not_found
from cairn.kernel.flow.step import ActionStep
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.store.store import Store, Tx
from cairn.services.l2.model import L2Network
from cairn.services.l2.realizer import Realizer
from cairn.services.l3.extensions import L3Networks


class RealizeInput(Struct, frozen=True, kw_only=True):
    """Which networks, where."""

    placed_host_uuid: str
    l3_network_uuids: list[str]


class RealizeOutput(Struct, frozen=True, kw_only=True):
    """What the VM's network cards are put into."""

    bridges: dict[str, str]  #: L3 network uuid -> bridge


class Realize(ActionStep[RealizeInput, RealizeOutput]):
    """See that the bridges of a VM's networks are there on its host."""

    name = "l2.realize"
    title = "preparing the host's networks"
    nothing_to_undo: ClassVar[str | None] = "the bridges belong to the cluster's hosts, with or without this VM"

    def __init__(self, store: Store, realizer: Realizer, extensions: Extensions) -> None:
        self._store = store
        self._realizer = realizer
        self._extensions = extensions

    async def do(self, given: RealizeInput) -> RealizeOutput:
        """Look the bridges up; make those that this node has not seen since the host's last connect."""
        l3 = self._extensions.named(L3Networks, "l3")

        def fn(tx: Tx) -> tuple[dict[str, str], list[str]]:
            places = l3.places(tx, given.l3_network_uuids)
            for uuid in given.l3_network_uuids:
                if uuid not in places:
                    raise not_found("l3-network", "l3NetworkUuids", uuid)
            l2 = list({place.l2_network_uuid for place in places.values()})
            bridges = {network.uuid: network.bridge for network in tx.find(L2Network, uuid=l2)}
            return {uuid: bridges[place.l2_network_uuid] for uuid, place in places.items()}, l2

        bridges, l2 = await self._store.read(fn)
        await self._realizer.ensure(given.placed_host_uuid, l2)
        return RealizeOutput(bridges=bridges)
