"""The filter for hosts that a VM's networks reach."""

from __future__ import annotations

from collections.abc import Sequence

from cairn.kernel.store.remembered import Remembered
from cairn.kernel.store.store import Tx
from cairn.services.host.extensions import ANYWHERE, Candidate, HostFilter, HostNeed, Places
from cairn.services.ids import ClusterId, HostId, L2NetworkId
from cairn.services.l2.model import L2Network, L2NetworkClusterRef
from cairn.services.l2.provided import L2Networks
from cairn.services.l3.provided import L3Networks, L3Place


class ReachesNetworks(HostFilter):
    """A VM's host must be in a cluster to which the L2 networks of all its L3 networks are attached, and have them."""

    def __init__(self, networks: L3Networks, l2: L2Networks) -> None:
        self._networks = networks
        self._l2 = l2
        self._attached = Remembered(_attached, (L2NetworkClusterRef,))

    def refuse(self, tx: Tx, need: HostNeed, candidates: Sequence[Candidate]) -> dict[HostId, str]:
        """Refuse hosts in whose cluster one of the networks is missing, and those on which it could not be made."""
        if not need.l3_network_uuids or not candidates:
            return {}
        places = list(self._networks.places(tx, need.l3_network_uuids).values())
        attached = self._attached.get(tx, frozenset(place.l2_network_uuid for place in places))
        clusters = {candidate.cluster_uuid for candidate in candidates}
        lacking = {
            cluster: place
            for cluster in clusters
            for place in places
            if (place.l2_network_uuid, cluster) not in attached
        }
        without = {
            candidate.host_uuid: f"could not be given the L2 network of L3 network {place.name}"
            for candidate in candidates
            for place in places
            if self._l2.why_not_on(candidate.host_uuid, place.l2_network_uuid) is not None
        }
        if not lacking:
            return without
        reasons = {cluster: _reason(tx, place) for cluster, place in lacking.items()}
        return without | {
            candidate.host_uuid: reasons[candidate.cluster_uuid]
            for candidate in candidates
            if candidate.cluster_uuid in reasons
        }

    def narrow(self, tx: Tx, need: HostNeed) -> Places:
        """The clusters to which all of the networks are attached."""
        if not need.l3_network_uuids:
            return ANYWHERE
        networks = {place.l2_network_uuid for place in self._networks.places(tx, need.l3_network_uuids).values()}
        attached = self._attached.get(tx, frozenset(networks))
        there = [frozenset(cluster for network, cluster in attached if network == one) for one in networks]
        return Places(clusters=frozenset.intersection(*there)) if there else ANYWHERE


def _attached(tx: Tx, l2: frozenset[L2NetworkId]) -> set[tuple[L2NetworkId, ClusterId]]:
    return {(ref.l2_network_uuid, ref.cluster_uuid) for ref in tx.find(L2NetworkClusterRef, l2_network_uuid=l2)}


def _reason(tx: Tx, place: L3Place) -> str:
    network = tx.get(L2Network, place.l2_network_uuid)
    name = network.name if network else place.l2_network_uuid
    return f"is in a cluster to which the L2 network {name} of L3 network {place.name} is not attached"
