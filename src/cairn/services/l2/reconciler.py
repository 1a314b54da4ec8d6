"""Brings bridges on hosts in line with the database.

When networks are realized
    A host's own networks are realized when it connects. A whole network is realized when it is attached to a cluster,
    and, if it is a VXLAN, again in the background whenever the set of its tunnel addresses may have changed: each host
    must know all others. The more hosts were told, the longer is the pause before the next such round, so that many hosts
    that come one after the other are told of together. VMs ask for their networks as well, which costs an agent call only
    if this node has not seen the network on the host since the host's last connect.

Things that may happen at the same time
    What changes a host's networks takes its turn in that host's queue (`network_queue`), bridges and DHCP alike, and takes
    the set of peers as this node read it last, so an older set never comes after a newer one. Only for VMs it is read
    again if it has changed: a round has read it when it began, and a host that connects is told the rest by the next round.
    Work on one network as a whole takes its turn in a queue of the network's. A host that connects meanwhile asks for that
    same turn, so the last word is right. Requests that wait for their turn, or for the end of the pause, are merged into one.

What a failure means
    A network that cannot be made on a host is that network's trouble there, and not the host's: the host is connected
    without it, a `HostFault` says why, VMs of that network are placed elsewhere, and it is tried again (`HostSyncs`).
    Only who asks for the network there (a VM that starts, `AttachL2NetworkToCluster`) is told at once.

What is told
    A host that is new is told the whole set of peers. From then on it is told what comes and goes, with the digest of the set
    that this leads to (its generation), so a host that joins costs each of the others a few bytes, however many they are. One
    that connects again, or is met for the first time by this node, is told the digest alone. Where the digest shows that a
    host has something else, the whole set is told again.

Peers are all hosts of the attached clusters, connected or not: a frame to a host that is down is lost anyway, and the
set does not change each time a host comes or goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial

import structlog
from msgspec import Struct

from cairn.agents.protocol import codes
from cairn.agents.protocol.host import HostFacts
from cairn.agents.protocol.network import (
    ChangeVxlanPeers,
    EnsureBridge,
    EnsureVxlan,
    RemoveBridge,
)
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.tasks import Tasks
from cairn.kernel.clock import Clock
from cairn.kernel.config import GlobalConfig
from cairn.kernel.error import CairnError, ErrorKind, not_found
from cairn.kernel.event import EventRow, Events
from cairn.kernel.invalidation import Keys, forget
from cairn.kernel.queue import ResourceQueues, queue_key
from cairn.kernel.store.store import Store, Tx
from cairn.services.host.extensions import HostConnected, HostRemoval
from cairn.services.host.messages import HostView, ListHosts
from cairn.services.host.model import Host
from cairn.services.host.provided import HostAgents, HostSyncs, lacks_command, network_queue
from cairn.services.ids import ClusterId, HostId, L2NetworkId
from cairn.services.l2 import config
from cairn.services.l2.messages import L2PeersChanged
from cairn.services.l2.model import L2Network, L2NetworkClusterRef, L2Type
from cairn.services.l2.tunnels import TunnelEnds, Tunnels, is_address

_log = structlog.get_logger("cairn.l2")
_SHOWN = 3
#: between the end of a round of a network and the next, for each host that was told, and at most
_SECONDS_PER_HOST = 0.01
_MOST_SECONDS = 10.0

#: of `HostSyncs`: the part of a host that is an L2 network, by the network's uuid
KIND = "l2"

_Ends = Callable[[L2Network], Awaitable[Tunnels]]


class AttachedNetwork(Struct, frozen=True, kw_only=True):
    """A network and the clusters on whose hosts it has to be."""

    network: L2Network
    cluster_uuids: list[ClusterId]


class Told(Struct, frozen=True, kw_only=True):
    """What a host was told of a network when it was realized there."""

    tunnels: Tunnels
    local_ip: str  #: the host's own end then


class L2Reconciler(HostConnected, HostRemoval):
    """Makes and removes bridges on hosts."""

    def __init__(
        self,
        store: Store,
        bus: Bus,
        clock: Clock,
        queues: ResourceQueues,
        agents: HostAgents,
        syncs: HostSyncs,
        events: Events,
        settings: GlobalConfig,
    ) -> None:
        self._store = store
        self._bus = bus
        self._queues = queues
        self._agents = agents
        self._syncs = syncs
        self._settings = settings
        self._clock = clock
        self._ends = TunnelEnds(store, bus, clock)
        self._events = events
        syncs.register(KIND, self._sync)
        events.subscribe("l2.reconciler", {"l2.peers-changed"}, self._peers_changed, durable=True)
        #: host -> L2 network -> what it was realized with on this host since its last connect
        self._realized: dict[HostId, dict[L2NetworkId, Told]] = {}
        self._asked: set[L2NetworkId] = set()
        self._rest_until: dict[L2NetworkId, float] = {}  #: when a network's next round may be
        self._tasks = Tasks()

    # -- one host ---------------------------------------------------------------------------------------------------

    async def host_connecting(self, host: HostId, facts: HostFacts) -> None:
        """Realize all networks of the host's cluster; one that fails keeps neither the others nor the host."""
        self._realized.pop(host, None)
        found = (await self._bus.call(ListHosts(host_uuids=[host]))).hosts
        if not found:
            return
        cluster = found[0].cluster_uuid
        for attached in await self._store.read(lambda tx: load(tx, _of_cluster(tx, cluster))):
            network = attached.network
            work = partial(self._in_turn, found[0], network, again=True, ends=self._ends.lately)
            if await self._syncs.sync(host, KIND, network.uuid, work=work) and network.type is L2Type.VXLAN:
                self.refresh_later(network.uuid)  # which tells this host as well what it was not told now

    async def _sync(self, host: HostId, l2_network: str) -> None:
        """Realize a network on a host once more, if it belongs there."""
        found = (await self._bus.call(ListHosts(host_uuids=[host]))).hosts
        networks = await self._store.read(lambda tx: load(tx, [L2NetworkId(l2_network)]))
        if found and networks and found[0].cluster_uuid in networks[0].cluster_uuids:
            await self._in_turn(found[0], networks[0].network, again=True)

    def hosts_changed(self, hosts: Keys) -> None:
        """Another node may have connected them: what is on them is asked for again."""
        forget(self._realized, hosts)

    def why_not_remove(self, tx: Tx, host: HostId) -> str | None:
        """Networks never keep a host in the cloud."""
        return None

    def host_removed(self, tx: Tx, host: HostId) -> None:
        """Have the other hosts remove their tunnels to this one."""
        row = tx.get(Host, host)
        for attached in load(tx, _of_cluster(tx, row.cluster_uuid)) if row is not None else ():
            if attached.network.type is L2Type.VXLAN:
                event = L2PeersChanged(l2_network=attached.network.uuid)
                self._events.emit(tx, event, resource=attached.network.uuid)
                tx.after_commit(partial(self.refresh_later, attached.network.uuid))
        tx.after_commit(lambda: self._realized.pop(host, None))

    async def _peers_changed(self, event: EventRow) -> None:
        """Refresh the network also if this node, or the one before, ended right after the change."""
        self.refresh_later(L2NetworkId(event.resource_uuid or ""))

    async def ensure(self, host: HostId, l2_networks: Iterable[L2NetworkId]) -> None:
        """See that networks are there on a host; nothing is called when this node knows that they are.

        Raises:
            CairnError: ``l2.realize-failed``, ``l2.detached``, ``host.not-found``.
        """
        known = self._realized.get(host, {})
        missing = [network for network in l2_networks if network not in known]
        if not missing:
            return
        found = (await self._bus.call(ListHosts(host_uuids=[host]))).hosts
        if not found:
            raise not_found("host", "hostUuid", host)
        for attached in await self._store.read(lambda tx: load(tx, missing)):
            if found[0].cluster_uuid not in attached.cluster_uuids:
                raise _detached(found[0], attached.network)
            await self._in_turn(found[0], attached.network)

    async def _in_turn(
        self,
        host: HostView,
        network: L2Network,
        *,
        again: bool = False,
        afresh: bool = False,
        ends: _Ends | None = None,
    ) -> None:
        """Realize a network in the host's turn, with the peers that there are then.

        Args:
            again: also if this node knows that it is there as it should be.
            afresh: the network is new on hosts that this node has not told anything of it.
            ends: reads the peers; None: as they are at that moment.
        """

        async def work() -> None:
            tunnels = await (ends or self._ends.of)(network)
            if again or self._generation(host, network) != tunnels.generation:
                await self._realize(host, network, tunnels, afresh=afresh or host.is_new)

        await self._queues.run(network_queue(host.uuid), work, name="realize an L2 network")

    # -- one network ----------------------------------------------------------------------------------------------------

    async def attach(self, l2_network: L2NetworkId, cluster: ClusterId) -> None:
        """Realize a network on all connected hosts of a cluster, and tell those of its other clusters. Safe to repeat.

        Raises:
            CairnError: ``l2.realize-failed``: on some hosts of `cluster` it cannot be; the others have it.
        """
        failed = await self._whole(l2_network, self._realize_or_raise) or []
        errors = [error for host, error in failed if host.cluster_uuid == cluster]
        if errors:
            raise _together(errors)

    def refresh_later(self, l2_network: L2NetworkId) -> None:
        """Have a network realized wherever it should be and is not, or not with the present set of peers, soon."""
        if l2_network in self._asked:
            return
        self._asked.add(l2_network)
        self._tasks.start(self._refresh(l2_network), f"l2 refresh {l2_network}")

    async def _refresh(self, l2_network: L2NetworkId) -> None:
        try:
            while await self._whole(l2_network, self._realize_or_note, urgent=False) is None:
                await self._clock.sleep(self._rest(l2_network))
        except CairnError as error:
            self._asked.discard(l2_network)
            _log.warning("l2.refresh-failed", l2_network=l2_network, error=str(error))

    def _rest(self, l2_network: L2NetworkId) -> float:
        """The seconds until a network may have its next round."""
        return max(0.0, self._rest_until.get(l2_network, 0.0) - self._clock.monotonic())

    async def _realize_or_raise(self, host: HostView, network: L2Network) -> None:
        await self._in_turn(host, network, afresh=True, ends=self._ends.latest)

    async def _realize_or_note(self, host: HostView, network: L2Network) -> None:
        work = partial(self._in_turn, host, network, ends=self._ends.latest)
        await self._syncs.sync(host.uuid, KIND, network.uuid, work=work)

    async def _whole(
        self, l2_network: L2NetworkId, realize: Callable[[HostView, L2Network], Awaitable[None]], *, urgent: bool = True
    ) -> list[tuple[HostView, CairnError]] | None:
        """Realize a network wherever it should be.

        Args:
            urgent: without the pause that there is to be after the round before.

        Returns:
            The hosts on which `realize` raised, and what; None: nothing was done, since the pause has not passed.
        """

        async def work() -> list[tuple[HostView, CairnError]] | None:
            if not urgent and self._rest(l2_network):
                return None  # it waited for its turn behind another round
            self._asked.discard(l2_network)
            found = await self._store.read(lambda tx: load(tx, [l2_network]))
            if not found:
                return []
            network, clusters = found[0].network, found[0].cluster_uuids
            hosts = (await self._bus.call(ListHosts(cluster_uuids=clusters))).hosts
            generation = (await self._ends.of(network)).generation
            behind = [host for host in hosts if host.connected and self._generation(host, network) != generation]
            try:
                return await self._everywhere(behind, lambda host: realize(host, network))
            finally:
                rest = min(len(behind) * _SECONDS_PER_HOST, _MOST_SECONDS)
                self._rest_until[l2_network] = self._clock.monotonic() + rest

        return await self._queues.run(queue_key("l2-whole", l2_network), work, name="realize an L2 network")

    async def remove(self, network: L2Network, clusters: Sequence[ClusterId]) -> None:
        """Remove a network's bridge from the connected hosts of clusters. Safe to repeat.

        A host that cannot be reached keeps an unused bridge, which does no harm.

        Raises:
            CairnError: ``agent.busy`` and the like: a running VM is on the bridge.
        """
        hosts = (await self._bus.call(ListHosts(cluster_uuids=list(clusters)))).hosts
        failed = await self._everywhere(
            [host for host in hosts if host.connected], lambda host: self._remove(host, network)
        )
        errors = [error for host, error in failed if not _is_lost(host, network, error)]
        if errors:
            raise _together(errors)

    async def _remove(self, host: HostView, network: L2Network) -> None:
        async def work() -> None:
            self._realized.get(host.uuid, {}).pop(network.uuid, None)
            await self._agents.call(host.uuid, RemoveBridge(bridge=network.bridge))

        await self._queues.run(network_queue(host.uuid), work, name="remove an L2 network")

    # -- the work itself ---------------------------------------------------------------------------------------------

    async def _realize(self, host: HostView, network: L2Network, tunnels: Tunnels, *, afresh: bool) -> None:
        known = self._realized.setdefault(host.uuid, {})
        told = known.pop(network.uuid, None)
        try:
            if (told is None and afresh) or not await self._change(host, network, told, tunnels):
                await self._agents.call(host.uuid, _command(host, network, tunnels))
        except CairnError as error:
            if error.code == codes.STALE_EPOCH:
                raise  # whoever asked has lost its work: that says nothing of the host
            raise _failed(host, network, error) from error
        if self._realized.get(host.uuid) is known:  # else it has connected again meanwhile
            known[network.uuid] = Told(tunnels=tunnels, local_ip=host.management_ip)

    async def _change(self, host: HostView, network: L2Network, told: Told | None, tunnels: Tunnels) -> bool:
        """Tell a host what has changed since it was told last; False if that is not enough, and all has to be told.

        Args:
            told: None: this node has not told it anything; it may have been told all of it before, though.
        """
        if host.management_ip not in tunnels.addresses or (told is not None and told.local_ip != host.management_ip):
            return False
        came, gone = ([], []) if told is None else self._ends.changed(told.tunnels, tunnels)
        command = ChangeVxlanPeers(
            bridge=network.bridge, local_ip=host.management_ip, generation=tunnels.generation, add=came, remove=gone
        )
        try:
            return (await self._agents.call(host.uuid, command)).fitted
        except CairnError as error:
            if not lacks_command(error):
                raise
            return False

    def _generation(self, host: HostView, network: L2Network) -> str | None:
        told = self._realized.get(host.uuid, {}).get(network.uuid)
        return None if told is None else told.tunnels.generation

    async def _everywhere(
        self, hosts: Sequence[HostView], work: Callable[[HostView], Awaitable[None]]
    ) -> list[tuple[HostView, CairnError]]:
        places = asyncio.Semaphore(self._settings.get(config.PARALLELISM))

        async def one(host: HostView) -> CairnError | None:
            async with places:
                try:
                    await work(host)
                except CairnError as error:
                    return error
            return None

        results = await asyncio.gather(*(one(host) for host in hosts))
        return [(host, error) for host, error in zip(hosts, results, strict=True) if error is not None]

    # -- life ----------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Nothing to begin: a host's networks are realized when it connects."""

    async def stop(self) -> None:
        """Drop the refreshes that run in the background; the next connect of each host sees to it again."""
        await self._tasks.stop()


def load(tx: Tx, l2_networks: Sequence[L2NetworkId]) -> list[AttachedNetwork]:
    """The networks with these uuids and their clusters; those that do not exist are left out."""
    clusters: dict[L2NetworkId, list[ClusterId]] = {}
    for ref in tx.find(L2NetworkClusterRef, l2_network_uuid=l2_networks, order_by="id"):
        clusters.setdefault(ref.l2_network_uuid, []).append(ref.cluster_uuid)
    networks = tx.find(L2Network, uuid=l2_networks, order_by="create_date")
    return [AttachedNetwork(network=network, cluster_uuids=clusters.get(network.uuid, [])) for network in networks]


def _of_cluster(tx: Tx, cluster: ClusterId) -> list[L2NetworkId]:
    return [ref.l2_network_uuid for ref in tx.find(L2NetworkClusterRef, cluster_uuid=cluster)]


def _command(host: HostView, network: L2Network, tunnels: Tunnels) -> EnsureBridge | EnsureVxlan:
    if network.type is L2Type.NO_VLAN:
        return EnsureBridge(bridge=network.bridge, physical_interface=network.physical_interface, mtu=network.mtu)
    assert network.vni is not None
    if not is_address(host.management_ip):
        raise CairnError(
            "l2.no-tunnel-address",
            "managementIp: tunnels need an IPv4 address, and the host has none. Ask an administrator.",
            kind=ErrorKind.CONFLICT,
            operator=f"The host {host.name} has {host.management_ip!r}. Give it an address (UpdateHost) and reconnect it.",
        )
    return EnsureVxlan(
        bridge=network.bridge,
        vni=network.vni,
        local_ip=host.management_ip,
        peers=[address for address in tunnels.in_order if address != host.management_ip],
        mtu=network.mtu,
    )


def _failed(host: HostView, network: L2Network, error: CairnError) -> CairnError:
    if network.type is L2Type.NO_VLAN:
        needs = f"its bridge {network.bridge} needs the interface {network.physical_interface}"
        do = (
            f"Look at `ip link` there: {network.physical_interface} must exist and be in no other bridge. Correct the host "
            "or take an L2 network with the right interface, then reconnect the host or attach again."
        )
    else:
        needs = f"its tunnel (VNI {network.vni}) needs the address {host.management_ip}"
        do = "Look at `ip address` and the VXLAN support of its kernel there, then reconnect the host or attach again."
    return CairnError(
        "l2.realize-failed",
        f"The L2 network {network.name} cannot be made on a host. Ask an administrator.",
        kind=error.kind if error.kind in (ErrorKind.UNAVAILABLE, ErrorKind.TIMEOUT) else ErrorKind.CONFLICT,
        details={"host": host.uuid, "l2Network": network.uuid},
        cause=error,
        operator=f"On the host {host.name}; {needs}. {do}",
    )


def _detached(host: HostView, network: L2Network) -> CairnError:
    return CairnError(
        "l2.detached",
        f"The L2 network {network.name} is not attached to the cluster of the host where it is needed: it was detached "
        "meanwhile. Attach it again, or choose another place.",
        kind=ErrorKind.CONFLICT,
        operator=f"The host is {host.name}.",
    )


def _together(errors: Sequence[CairnError]) -> CairnError:
    first = errors[0]
    if len(errors) == 1:
        return first
    more = " ".join(str(error) for error in errors[1:_SHOWN])
    rest = f" And {len(errors) - _SHOWN} more hosts." if len(errors) > _SHOWN else ""
    return CairnError(
        first.code,
        f"{first.message} {len(errors)} hosts have such trouble.",
        kind=first.kind,
        details=first.details,
        cause=first.cause,
        operator=f"{first.operator or ''} Also: {more}{rest}".strip(),
    )


def _is_lost(host: HostView, network: L2Network, error: CairnError) -> bool:
    if error.kind not in (ErrorKind.UNAVAILABLE, ErrorKind.TIMEOUT):
        return False
    _log.warning("l2.bridge-left", host=host.uuid, l2_network=network.uuid, bridge=network.bridge, error=str(error))
    return True
