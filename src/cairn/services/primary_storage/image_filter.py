"""The filter for hosts that can fetch a VM's image, and run it."""

from __future__ import annotations

from collections.abc import Sequence

from cairn.agents.protocol.host import HostFacts
from cairn.kernel.invalidation import Keys, forget
from cairn.kernel.store.store import Tx
from cairn.services.host.extensions import Candidate, HostConnected, HostFilter, HostNeed
from cairn.services.host.model import Host
from cairn.services.ids import HostId
from cairn.services.image.provided import ImageSources


class ImageFilter(HostFilter, HostConnected):
    """Refuses hosts with other processors than the image wants, and hosts of zones that the image cannot be fetched in.

    Every new VM asks. The processors of a host seldom change, and only while it is not connected: they are remembered from
    one connecting to the next.
    """

    def __init__(self, sources: ImageSources) -> None:
        self._sources = sources
        self._architectures: dict[HostId, str] = {}

    def refuse(self, tx: Tx, need: HostNeed, candidates: Sequence[Candidate]) -> dict[HostId, str]:
        """A VM that has its disk already fetches nothing. An image that is gone is asked for nothing."""
        wanted = self._sources.architecture(tx, need.image_uuid)
        if wanted is None:
            return {}
        zones = self._sources.zones(tx, need.image_uuid) if need.root_volume_uuid is None else None
        refused: dict[HostId, str] = {}
        for candidate in candidates:
            found = self._architecture(tx, candidate.host_uuid)
            if found not in ("", wanted):
                refused[candidate.host_uuid] = f"has {found} processors, and the image is for {wanted}"
            elif zones is not None and candidate.zone_uuid not in zones:
                refused[candidate.host_uuid] = "is in a zone without a usable backup storage that has the image"
        return refused

    async def host_connecting(self, host: HostId, facts: HostFacts) -> None:
        """Remember the host's processors."""
        self._architectures[host] = facts.architecture

    def hosts_changed(self, hosts: Keys) -> None:
        """Another node may have connected them: look again."""
        forget(self._architectures, hosts)

    def _architecture(self, tx: Tx, host: HostId) -> str:
        """The host's processors; empty: not known."""
        known = self._architectures.get(host)
        if known is not None:
            return known
        row = tx.get(Host, host)
        if row is None:
            return ""
        self._architectures[host] = row.architecture
        return row.architecture
