"""The provider ``Flat``: DHCP, DNS and metadata on the VM's own host, so that no router has to run for a network."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from cairn.agents.protocol.host import HostFacts
from cairn.agents.protocol.network import DhcpEntry, EnsureDhcp, MetadataEntry, RemoveDhcp, RemoveDhcpEntries
from cairn.agents.protocol.wire import AgentCommand, Done
from cairn.kernel.bus.bus import Bus
from cairn.kernel.clock import Clock
from cairn.kernel.config import GlobalConfig
from cairn.kernel.recent import Recent
from cairn.kernel.store.store import Store, Tx
from cairn.plugins.flat_network import config
from cairn.plugins.flat_network.model import FlatDhcpServer
from cairn.services.host.extensions import HostConnected
from cairn.services.host.messages import ListHosts
from cairn.services.host.provided import HostAgents
from cairn.services.ids import HostId, L3NetworkId
from cairn.services.l3.extensions import NetworkChanged, NetworkServices
from cairn.services.l3.provided import L3Networks, L3View
from cairn.services.vm.extensions import NicSpec, VmNetworks, VmNetworkService
from cairn.services.vm.messages import ListVmNetworks

TYPE: Final = "Flat"
DHCP: Final = "DHCP"
DNS: Final = "DNS"
USERDATA: Final = "Userdata"

AnyCommand = AgentCommand[Done]


class Served(Struct, frozen=True, kw_only=True):
    """A network that Flat serves, and with what."""

    view: L3View
    dhcp_ip: str | None  #: None: it is still to be claimed
    metadata: bool


class _Guest(Struct, frozen=True, kw_only=True):
    """A VM's network card, with what its network tells the VM."""

    vm_uuid: str
    hostname: str
    nic: NicSpec
    user_data: bytes | None
    ssh_keys: list[str]

    def entry(self) -> DhcpEntry:
        return DhcpEntry(
            mac=self.nic.mac, ip=self.nic.ip, hostname=self.hostname, vm=self.vm_uuid, is_default=self.nic.is_default
        )

    def metadata(self) -> MetadataEntry:
        return MetadataEntry(
            ip=self.nic.ip,
            vm=self.vm_uuid,
            hostname=self.hostname,
            user_data=self.user_data,
            ssh_keys=self.ssh_keys,
        )


class FlatProvider(NetworkServices, NetworkChanged, VmNetworkService, HostConnected):
    """Serves networks, and is told when they change, when a VM comes or goes, and when a host connects.

    Name service and metadata come from the network's DHCP server, so a network whose DHCP is not Flat's has neither.
    """

    name = "Flat network"
    doc = "DHCP, DNS and metadata for VMs on the hosts that they run on."
    types = (DHCP, DNS, USERDATA)

    def __init__(
        self, store: Store, bus: Bus, clock: Clock, agents: HostAgents, networks: L3Networks, settings: GlobalConfig
    ) -> None:
        self._store = store
        self._bus = bus
        self._agents = agents
        self._networks = networks
        self._settings = settings
        self._served = Recent(clock, self._look_up)

    # -- networks ------------------------------------------------------------------------------------------------------

    def automatic(self) -> bool:
        """Read the setting ``flatNetwork.autoAttach``."""
        return self._settings.get(config.AUTO_ATTACH)

    def prepare(self, tx: Tx, l3_network: L3NetworkId) -> None:
        """Claim the address of a network's DHCP servers, once; a network without ranges gets it with its first one.

        Raises:
            CairnError: ``l3.no-free-address``.
        """
        view = self._networks.views(tx, [l3_network]).get(l3_network)
        if view is not None and view.netmask is not None and view.services.get(DHCP) == TYPE:
            self._server(tx, l3_network)

    def _server(self, tx: Tx, l3_network: L3NetworkId) -> FlatDhcpServer:
        there = tx.get(FlatDhcpServer, l3_network)
        if there is not None:
            return there
        claimed = self._networks.claim(tx, l3_network, used_for=None)
        server = FlatDhcpServer(l3_network_uuid=l3_network, ip=claimed.ip, used_ip_uuid=claimed.used_ip_uuid)
        tx.insert(server)
        return server

    def network_changed(self, l3_network: L3NetworkId) -> None:
        """Forget the network: it is looked up when it is needed again."""
        self._served.drop(l3_network)

    async def _look_up(self, l3_networks: Sequence[L3NetworkId]) -> dict[L3NetworkId, Served]:
        """Find those of some networks that Flat serves."""
        return await self._store.read(lambda tx: self._look(tx, l3_networks, claim=False))

    async def _claimed(self, served: dict[L3NetworkId, Served]) -> dict[L3NetworkId, Served]:
        """`served`, with addresses claimed that should have been when a range was added (``l3.no-free-address``)."""
        lacking = [uuid for uuid, one in served.items() if one.dhcp_ip is None]
        if not lacking:
            return served
        claimed = await self._store.write(lambda tx: self._look(tx, lacking, claim=True))
        for uuid in lacking:
            self._served.drop(uuid)
        return {uuid: one for uuid, one in served.items() if one.dhcp_ip is not None} | claimed

    def _look(self, tx: Tx, l3_networks: Sequence[L3NetworkId], *, claim: bool) -> dict[L3NetworkId, Served]:
        views = self._networks.views(tx, l3_networks)
        ips = {row.l3_network_uuid: row.ip for row in tx.find(FlatDhcpServer, l3_network_uuid=l3_networks)}
        found: dict[L3NetworkId, Served] = {}
        for uuid, view in views.items():
            if view.services.get(DHCP) == TYPE:
                ip = self._server(tx, uuid).ip if claim else ips.get(uuid)
                found[uuid] = Served(view=view, dhcp_ip=ip, metadata=view.services.get(USERDATA) == TYPE)
        return found

    # -- one VM --------------------------------------------------------------------------------------------------------

    async def apply(self, vm: VmNetworks) -> None:
        """Have the VM's host answer its DHCP requests and serve its metadata: one call for each of its networks."""
        guests = _by_network(_guests(vm))
        served = await self._claimed(await self._served.get(guests))
        commands = [
            _serving(one, vm.bridges[network], guests[network], replace=False) for network, one in served.items()
        ]
        await self._send(vm.host_uuid, commands)

    async def release(self, vm: VmNetworks) -> None:
        """Have the VM's host forget its network cards; one that knows none is success."""
        guests = _by_network(_guests(vm))
        served = await self._served.get(guests)
        commands = [
            RemoveDhcpEntries(network=network, macs=[guest.nic.mac for guest in guests[network]], vms=[vm.uuid])
            for network, one in served.items()
            if one.dhcp_ip is not None
        ]
        await self._send(vm.host_uuid, commands)

    async def _send(self, host: HostId, commands: Sequence[AnyCommand]) -> None:
        """Send all at a time and wait for each to end, then raise the first error: nothing is left running behind."""
        calls = (self._agents.call(host, command) for command in commands)
        for result in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    # -- one host ---------------------------------------------------------------------------------------------------------

    async def host_connecting(self, host: HostId, facts: HostFacts) -> None:
        """Make DHCP and metadata of a host what the database says: VMs that left meanwhile are forgotten there."""
        vms = (await self._bus.call(ListVmNetworks(host_uuid=host))).vms
        guests = _by_network(guest for vm in vms for guest in _guests(vm) if guest.nic.ip)
        served = await self._claimed(await self._look_up(list(guests)))
        commands: list[AnyCommand] = [
            RemoveDhcp(network=network) for network in await self._without_guests(host, guests)
        ]
        for network, one in served.items():
            commands.append(_serving(one, one.view.bridge, guests[network], replace=True))
        await self._send(host, commands)

    async def _without_guests(self, host: HostId, guests: Iterable[L3NetworkId]) -> list[L3NetworkId]:
        """Networks that the host could serve but has no VM in; servers may be left there of VMs that are gone."""
        known = (await self._bus.call(ListHosts(host_uuids=[host]))).hosts
        if not known:
            return []
        cluster, busy = known[0].cluster_uuid, set(guests)

        def fn(tx: Tx) -> list[L3NetworkId]:
            idle = [row.l3_network_uuid for row in tx.find(FlatDhcpServer) if row.l3_network_uuid not in busy]
            return [uuid for uuid, view in self._networks.views(tx, idle).items() if cluster in view.cluster_uuids]

        return await self._store.read(fn)


def _guests(vm: VmNetworks) -> list[_Guest]:
    return [
        _Guest(vm_uuid=vm.uuid, hostname=vm.hostname, nic=nic, user_data=vm.user_data, ssh_keys=vm.ssh_keys)
        for nic in vm.nics
    ]


def _by_network(guests: Iterable[_Guest]) -> dict[L3NetworkId, list[_Guest]]:
    found: dict[L3NetworkId, list[_Guest]] = {}
    for guest in guests:
        found.setdefault(guest.nic.l3_network_uuid, []).append(guest)
    return found


def _serving(served: Served, bridge: str, guests: Sequence[_Guest], *, replace: bool) -> EnsureDhcp:
    """The command that has a host serve guests of one network."""
    assert served.dhcp_ip is not None
    return EnsureDhcp(
        network=served.view.uuid,
        bridge=bridge,
        dhcp_ip=served.dhcp_ip,
        netmask=guests[0].nic.netmask,
        gateway=guests[0].nic.gateway,
        dns=served.view.dns,
        domain=served.view.dns_domain,
        mtu=served.view.mtu,
        entries=[guest.entry() for guest in guests],
        metadata=[guest.metadata() for guest in guests] if served.metadata else [],
        replace=replace,
    )
