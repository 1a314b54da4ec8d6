"""Keeps VMs from being placed in disabled clusters and zones."""

from __future__ import annotations

from collections.abc import Sequence

from cairn.kernel.resource import EnabledState
from cairn.kernel.store.remembered import Remembered
from cairn.kernel.store.store import Tx
from cairn.services.cluster.model import Cluster
from cairn.services.host.extensions import Candidate, HostFilter, HostNeed
from cairn.services.ids import HostId
from cairn.services.zone.model import Zone


class ClosedPlaces(HostFilter):
    """Refuses hosts whose cluster or zone is disabled."""

    def __init__(self) -> None:
        self._closed = Remembered(_closed, (Zone, Cluster))

    def refuse(self, tx: Tx, need: HostNeed, candidates: Sequence[Candidate]) -> dict[HostId, str]:
        """Refuse the hosts in disabled clusters and zones; both are remembered until one changes."""
        closed = self._closed.get(tx, None)
        if not closed:
            return {}
        found = ((one.host_uuid, closed.get(one.cluster_uuid) or closed.get(one.zone_uuid)) for one in candidates)
        return {host: reason for host, reason in found if reason is not None}


def _closed(tx: Tx, _: None) -> dict[str, str]:
    """All disabled clusters and zones, with the reason why the hosts in them are refused."""
    zones = tx.find(Zone, state=EnabledState.DISABLED)
    clusters = tx.find(Cluster, state=EnabledState.DISABLED)
    closed = {zone.uuid: f"is in the zone {zone.name}, which is Disabled" for zone in zones}
    return closed | {cluster.uuid: f"is in the cluster {cluster.name}, which is Disabled" for cluster in clusters}
