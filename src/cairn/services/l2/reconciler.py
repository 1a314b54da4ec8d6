"""Brings bridges on hosts in line with the database.

When networks are realized
    A host's own networks are realized when it connects. A whole network is realized when it is attached to a cluster,
    and, if it is a VXLAN, again in the background whenever the set of its tunnel addresses may have changed: each host
    must know all others. VMs ask for their networks as well, which costs an agent call only if this node has not seen
    the network on the host since the host's last connect.

Things that may happen at the same time
    Work on one network as a whole takes its turn in a queue, so an older set of peers never comes after a newer one. A
    host that connects meanwhile works with a set of its own and then asks for that same turn, so the last word is
    right. Requests that wait for their turn are merged into one.

Peers are all hosts of the attached clusters, connected or not: a frame to a host that is down is lost anyway, and the
set does not change each time a host comes or goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from ipaddress import AddressValueError, IPv4Address

import structlog
from msgspec import Struct

from cairn.agents.protocol.host import HostFacts
from cairn.agents.protocol.network import EnsureBridge, EnsureVxlan, RemoveBridge
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.context import NOWHERE, entered
from cairn.kernel.config import GlobalConfig
from cairn.kernel.error import CairnError, ErrorKind, not_found
from cairn.kernel.queue import ResourceQueues
from cairn.kernel.store.store import Store, Tx
from cairn.services.host.extensions import HostConnected, HostRemoval
from cairn.services.host.messages import HostView, ListHosts
from cairn.services.host.model import Host
from cairn.services.host.provided import HostAgents
from cairn.services.ids import ClusterId, HostId, L2NetworkId
from cairn.services.l2 import config
from cairn.services.l2.model import L2Network, L2NetworkClusterRef, L2Type

_log = structlog.get_logger("cairn.l2")
_SHOWN = 3


class AttachedNetwork(Struct, frozen=True, kw_only=True):
    """A network and the clusters on whose hosts it has to be."""

    network: L2Network
    cluster_uuids: list[ClusterId]


class L2Reconciler(HostConnected, HostRemoval):
    """Makes and removes bridges on hosts."""

    def __init__(
        self, store: Store, bus: Bus, queues: ResourceQueues, agents: HostAgents, settings: GlobalConfig
    ) -> None:
        self._store = store
        self._bus = bus
        self._queues = queues
        self._agents = agents
        self._settings = settings
        #: host -> L2 network -> tunnel addresses that it was realized with on this host since its last connect
        self._realized: dict[HostId, dict[L2NetworkId, frozenset[str]]] = {}
        self._asked: set[L2NetworkId] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    # -- one host ---------------------------------------------------------------------------------------------------

    async def host_connecting(self, host: HostId, facts: HostFacts) -> None:
        """Realize all networks of the host's cluster.

        Raises:
            CairnError: ``l2.realize-failed``; the host is not fit for VMs then.
        """
        self._realized.pop(host, None)
        found = (await self._bus.call(ListHosts(host_uuids=[host]))).hosts
        if not found:
            return
        cluster = found[0].cluster_uuid
        networks = await self._store.read(lambda tx: load(tx, _of_cluster(tx, cluster)))
        await self._on_host(found[0], networks)
        for attached in networks:
            if attached.network.type is L2Type.VXLAN:
                self.refresh_later(attached.network.uuid)

    def why_not_remove(self, tx: Tx, host: HostId) -> str | None:
        """Networks never keep a host in the cloud."""
        return None

    def host_removed(self, tx: Tx, host: HostId) -> None:
        """Have the other hosts remove their tunnels to this one."""
        row = tx.get(Host, host)
        for attached in load(tx, _of_cluster(tx, row.cluster_uuid)) if row is not None else ():
            if attached.network.type is L2Type.VXLAN:
                tx.after_commit(partial(self.refresh_later, attached.network.uuid))
        tx.after_commit(lambda: self._realized.pop(host, None))

    async def ensure(self, host: HostId, l2_networks: Iterable[L2NetworkId]) -> None:
        """See that networks are there on a host; nothing is called when this node knows that they are.

        Raises:
            CairnError: ``l2.realize-failed``, ``host.not-found``.
        """
        missing = self._missing(host, l2_networks)
        if not missing:
            return

        async def work() -> None:
            still = self._missing(host, missing)
            if not still:
                return
            found = (await self._bus.call(ListHosts(host_uuids=[host]))).hosts
            if not found:
                raise not_found("host", "hostUuid", host)
            await self._on_host(found[0], await self._store.read(lambda tx: load(tx, still)))

        await self._queues.run(f"l2-host:{host}", work, name="realize L2 networks")

    def _missing(self, host: HostId, l2_networks: Iterable[L2NetworkId]) -> list[L2NetworkId]:
        known = self._realized.get(host, {})
        return [network for network in l2_networks if network not in known]

    async def _on_host(self, host: HostView, networks: Sequence[AttachedNetwork]) -> None:
        for attached in networks:
            await self._realize(host, attached.network, await self._tunnels(attached))

    # -- one network ----------------------------------------------------------------------------------------------------

    async def attach(self, l2_network: L2NetworkId, cluster: ClusterId) -> None:
        """Realize a network on all connected hosts of a cluster, and tell those of its other clusters. Safe to repeat.

        Raises:
            CairnError: ``l2.realize-failed``: on some hosts of `cluster` it cannot be; the others have it.
        """
        failed = await self._whole(l2_network)
        errors = [error for host, error in failed if host.cluster_uuid == cluster]
        if errors:
            raise _together(errors)

    def refresh_later(self, l2_network: L2NetworkId) -> None:
        """Have a network realized wherever it should be and is not, or not with the present set of peers, soon."""
        if l2_network in self._asked:
            return
        self._asked.add(l2_network)
        task = asyncio.get_running_loop().create_task(self._refresh(l2_network), name=f"l2 refresh {l2_network}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _refresh(self, l2_network: L2NetworkId) -> None:
        try:
            with entered(NOWHERE):  # it outlives the job that asked for it, and that job's deadline
                await self._whole(l2_network)
        except CairnError as error:
            _log.warning("l2.refresh-failed", l2_network=l2_network, error=str(error))
        finally:
            self._asked.discard(l2_network)

    async def _whole(self, l2_network: L2NetworkId) -> list[tuple[HostView, CairnError]]:
        """Realize a network wherever it should be. Returns the hosts on which it cannot be, and why."""

        async def work() -> list[tuple[HostView, CairnError]]:
            self._asked.discard(l2_network)
            found = await self._store.read(lambda tx: load(tx, [l2_network]))
            if not found:
                return []
            network, clusters = found[0].network, found[0].cluster_uuids
            hosts = (await self._bus.call(ListHosts(cluster_uuids=clusters))).hosts
            tunnels = tunnel_addresses(hosts) if network.type is L2Type.VXLAN else frozenset()
            behind = [
                host
                for host in hosts
                if host.connected and self._realized.get(host.uuid, {}).get(network.uuid) != tunnels
            ]
            return await self._everywhere(behind, lambda host: self._realize(host, network, tunnels))

        return await self._queues.run(f"l2-whole:{l2_network}", work, name="realize an L2 network")

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
        self._realized.get(host.uuid, {}).pop(network.uuid, None)
        await self._agents.call(host.uuid, RemoveBridge(bridge=network.bridge))

    # -- the work itself ---------------------------------------------------------------------------------------------

    async def _realize(self, host: HostView, network: L2Network, tunnels: frozenset[str]) -> None:
        known = self._realized.setdefault(host.uuid, {})
        known.pop(network.uuid, None)
        try:
            await self._agents.call(host.uuid, _command(host, network, tunnels))
        except CairnError as error:
            raise _failed(host, network, error) from error
        if self._realized.get(host.uuid) is known:  # else it has connected again meanwhile
            known[network.uuid] = tunnels

    async def _tunnels(self, attached: AttachedNetwork) -> frozenset[str]:
        if attached.network.type is not L2Type.VXLAN:
            return frozenset()
        return tunnel_addresses((await self._bus.call(ListHosts(cluster_uuids=attached.cluster_uuids))).hosts)

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
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def load(tx: Tx, l2_networks: Sequence[L2NetworkId]) -> list[AttachedNetwork]:
    """The networks with these uuids and their clusters; those that do not exist are left out."""
    clusters: dict[L2NetworkId, list[ClusterId]] = {}
    for ref in tx.find(L2NetworkClusterRef, l2_network_uuid=l2_networks, order_by="id"):
        clusters.setdefault(ref.l2_network_uuid, []).append(ref.cluster_uuid)
    networks = tx.find(L2Network, uuid=l2_networks, order_by="create_date")
    return [AttachedNetwork(network=network, cluster_uuids=clusters.get(network.uuid, [])) for network in networks]


def _of_cluster(tx: Tx, cluster: ClusterId) -> list[L2NetworkId]:
    return [ref.l2_network_uuid for ref in tx.find(L2NetworkClusterRef, cluster_uuid=cluster)]


def tunnel_addresses(hosts: Iterable[HostView]) -> frozenset[str]:
    """The hosts' ends of tunnels: their management addresses. One that is known by a name only has none."""
    return frozenset(host.management_ip for host in hosts if _is_address(host.management_ip))


def _is_address(text: str) -> bool:
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True


def _command(host: HostView, network: L2Network, tunnels: frozenset[str]) -> EnsureBridge | EnsureVxlan:
    if network.type is L2Type.NO_VLAN:
        return EnsureBridge(bridge=network.bridge, physical_interface=network.physical_interface, mtu=network.mtu)
    assert network.vni is not None
    if not _is_address(host.management_ip):
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
        peers=sorted(tunnels - {host.management_ip}),
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
