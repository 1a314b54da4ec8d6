"""What the L2 service answers inside others' transactions."""

from __future__ import annotations

from collections.abc import Sequence

from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.store.remembered import Remembered
from cairn.kernel.store.store import Tx
from cairn.services.host.extensions import Candidate, HostNeed
from cairn.services.l2.extensions import L2View
from cairn.services.l2.model import L2Network, L2NetworkClusterRef
from cairn.services.l2.realizer import load
from cairn.services.l3.extensions import L3Networks, L3Place, announce


class L2Directory:
    """Implements `L2Networks`."""

    def views(self, tx: Tx, l2_networks: Sequence[str]) -> dict[str, L2View]:
        """The networks with these uuids."""
        return {
            plan.network.uuid: L2View(
                uuid=plan.network.uuid,
                name=plan.network.name,
                type=plan.network.type.value,
                zone_uuid=plan.network.zone_uuid,
                bridge=plan.network.bridge,
                mtu=plan.network.mtu,
                cluster_uuids=plan.cluster_uuids,
            )
            for plan in load(tx, l2_networks)
        }


class ReachesNetworks:
    """Implements `HostFilter`: a VM's host must be in a cluster that has the L2 networks of all its L3 networks."""

    def __init__(self, extensions: Extensions) -> None:
        self._extensions = extensions
        self._attached = Remembered(_attached, (L2NetworkClusterRef,))

    def refuse(self, tx: Tx, need: HostNeed, candidates: Sequence[Candidate]) -> dict[str, str]:
        """Hosts whose cluster lacks one."""
        if not need.l3_network_uuids or not candidates:
            return {}
        places = list(self._extensions.named(L3Networks, "l3").places(tx, need.l3_network_uuids).values())
        attached = self._attached.get(tx, frozenset(place.l2_network_uuid for place in places))
        clusters = {candidate.cluster_uuid for candidate in candidates}
        lacking = {
            cluster: place
            for cluster in clusters
            for place in places
            if (place.l2_network_uuid, cluster) not in attached
        }
        if not lacking:
            return {}
        reasons = {cluster: _reason(tx, place) for cluster, place in lacking.items()}
        return {
            candidate.host_uuid: reasons[candidate.cluster_uuid]
            for candidate in candidates
            if candidate.cluster_uuid in reasons
        }


def announce_attachment(extensions: Extensions, tx: Tx, l2_network: str) -> None:
    """Have it told, once `tx` is committed, that the L3 networks on an L2 network are in other clusters now."""
    for networks in extensions.of(L3Networks):
        for place in networks.on_l2(tx, l2_network):
            announce(extensions, tx, place.uuid)


def _attached(tx: Tx, l2: frozenset[str]) -> set[tuple[str, str]]:
    return {(ref.l2_network_uuid, ref.cluster_uuid) for ref in tx.find(L2NetworkClusterRef, l2_network_uuid=l2)}


def _reason(tx: Tx, place: L3Place) -> str:
    network = tx.get(L2Network, place.l2_network_uuid)
    name = network.name if network else place.l2_network_uuid
    return f"is in a cluster that has not the L2 network {name} of L3 network {place.name} attached"
