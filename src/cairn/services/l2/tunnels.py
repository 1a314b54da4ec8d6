"""The ends of VXLAN networks' tunnels: read from all hosts of a network's clusters, and kept until those change.

Whether they have changed is seen by one row a cluster (`CountHostChanges`), also when it happened on another node. So a
network that is realized on one more host costs no look at all the others.

Reading all hosts costs the more the more there are. Where many are added, each of them changes the set, so who needs only a set
that is told again soon (`lately`) is given one that is a little old.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from ipaddress import AddressValueError, IPv4Address

from msgspec import Struct

from cairn.agents.protocol.network import tunnel_generation
from cairn.kernel.bus.bus import Bus
from cairn.kernel.clock import Clock
from cairn.kernel.store.store import Store
from cairn.services.host.messages import CountHostChanges, HostView, ListHosts
from cairn.services.ids import ClusterId, L2NetworkId
from cairn.services.l2.attachments import clusters_of
from cairn.services.l2.model import L2Network, L2Type

#: how many networks' ends are kept, and how many changes from one set of ends to another
_MOST = 1000
_CHANGES = 64
#: how old a set may be for `lately`: for each end some hundred times what it takes to read one, and at most so much; few ends are
#: read as they are
_SECONDS_PER_END = 0.001
_MOST_SECONDS = 10.0
_FEW = 50


class Tunnels(Struct, frozen=True, kw_only=True):
    """The ends of a network's tunnels, sorted once for all hosts that are told."""

    addresses: frozenset[str]
    in_order: tuple[str, ...]
    generation: str  #: tells two sets apart, also for agents


NO_TUNNELS = Tunnels(addresses=frozenset(), in_order=(), generation="")


class _Kept(Struct, frozen=True):
    """Tunnels, and the changes to clusters that they are made from."""

    changes: dict[ClusterId, int]
    tunnels: Tunnels
    read_at: float  #: by the clock's monotonic()


class TunnelEnds:
    """Looks up the ends of networks' tunnels, and compares sets of them."""

    def __init__(self, store: Store, bus: Bus, clock: Clock) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock
        self._kept: dict[L2NetworkId, _Kept] = {}
        self._reading = asyncio.Lock()
        #: generations before and after -> addresses that came, and that went
        self._changes: dict[tuple[str, str], tuple[list[str], list[str]]] = {}

    async def of(self, network: L2Network) -> Tunnels:
        """The ends as they are now; none for a network without tunnels."""
        if network.type is not L2Type.VXLAN:
            return NO_TUNNELS
        changes = await self._counted(network.uuid)
        kept = self._kept.get(network.uuid)
        if kept is not None and kept.changes == changes:
            return kept.tunnels
        async with self._reading:  # who has waited uses what another has read
            changes = await self._counted(network.uuid)
            kept = self._kept.get(network.uuid)
            if kept is None or kept.changes != changes:
                kept = await self._read(network.uuid, changes)
            return kept.tunnels

    async def lately(self, network: L2Network) -> Tunnels:
        """The ends as they were a moment ago: at most a millisecond for each of them, and ten seconds.

        So however fast hosts come, reading them all takes a small part of the time. What is given later is never older.
        """
        kept = self._kept.get(network.uuid)
        if kept is not None and len(kept.tunnels.in_order) > _FEW:
            oldest = min(len(kept.tunnels.in_order) * _SECONDS_PER_END, _MOST_SECONDS)
            if self._clock.monotonic() - kept.read_at < oldest:
                return kept.tunnels
        return await self.of(network)

    async def latest(self, network: L2Network) -> Tunnels:
        """The ends as this node read them last, whenever that was: for who has read them a moment ago and works on."""
        kept = self._kept.get(network.uuid)
        return kept.tunnels if kept is not None else await self.of(network)

    async def _counted(self, l2_network: L2NetworkId) -> dict[ClusterId, int]:
        clusters = await self._store.look(lambda tx: clusters_of(tx, l2_network))
        return (await self._bus.call(CountHostChanges(cluster_uuids=clusters))).changes

    async def _read(self, l2_network: L2NetworkId, changes: dict[ClusterId, int]) -> _Kept:
        """Read the ends; what changes after it was counted is read too, and read once more the next time."""
        read_at = self._clock.monotonic()
        hosts = (await self._bus.call(ListHosts(cluster_uuids=list(changes)))).hosts
        if len(self._kept) >= _MOST:
            self._kept.clear()
        kept = self._kept[l2_network] = _Kept(changes, _tunnels(hosts), read_at)
        return kept

    def changed(self, before: Tunnels, now: Tunnels) -> tuple[list[str], list[str]]:
        """The addresses that came, and those that went; worked out once for all hosts."""
        key = (before.generation, now.generation)
        found = self._changes.get(key)
        if found is None:
            if len(self._changes) >= _CHANGES:
                self._changes.clear()
            found = (sorted(now.addresses - before.addresses), sorted(before.addresses - now.addresses))
            self._changes[key] = found
        return found


def is_address(text: str) -> bool:
    """Whether it can be the end of a tunnel: an IPv4 address."""
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True


def _tunnels(hosts: Iterable[HostView]) -> Tunnels:
    """The hosts' ends of tunnels: their management addresses. One that is known by a name only has none."""
    addresses = frozenset(host.management_ip for host in hosts if is_address(host.management_ip))
    in_order = tuple(sorted(addresses))
    return Tunnels(addresses=addresses, in_order=in_order, generation=tunnel_generation(in_order))
