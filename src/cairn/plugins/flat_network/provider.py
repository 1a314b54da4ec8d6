"""The provider ``Flat``: DHCP, DNS and metadata on the VM's own host, so that no router has to run for a network."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from cairn.agents.protocol.host import HostFacts
from cairn.agents.protocol.network import DhcpEntry, EnsureDhcp, KeepDhcp, MetadataEntry, RemoveDhcpEntries
from cairn.agents.protocol.wire import AgentCommand, Done
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.tasks import Tasks
from cairn.kernel.clock import Clock
from cairn.kernel.config import GlobalConfig
from cairn.kernel.error import CairnError
from cairn.kernel.queue import ResourceQueues
from cairn.kernel.recent import Recent
from cairn.kernel.store.store import Store, Tx
from cairn.plugins.flat_network import config
from cairn.plugins.flat_network.model import FlatDhcpServer
from cairn.plugins.flat_network.names import Neighbours
from cairn.plugins.flat_network.pages import PAGE_BYTES, pages
from cairn.plugins.flat_network.placed import hosts_of
from cairn.services.host.extensions import HostConnected
from cairn.services.host.provided import HostAgents, HostSyncs, is_out_of_reach, network_queue
from cairn.services.ids import HostId, L3NetworkId
from cairn.services.l3.extensions import NetworkChanged, NetworkServices
from cairn.services.l3.provided import L3Networks, L3View
from cairn.services.vm.extensions import NicSpec, VmNetworks, VmNetworkService
from cairn.services.vm.messages import ListVmNetworks

TYPE: Final = "Flat"
DHCP: Final = "DHCP"
DNS: Final = "DNS"
USERDATA: Final = "Userdata"

_PARALLELISM: Final = 20
#: of `HostSyncs`: the part of a host that is its flat networks; by the network's uuid where it is about one only
KIND: Final = "flat"

_log = structlog.get_logger("cairn.flat")

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

    def size(self) -> int:
        """Its bytes in a request."""
        return len(msgspec.json.encode((self.entry(), self.metadata())))


class FlatProvider(NetworkServices, NetworkChanged, VmNetworkService, HostConnected):
    """Serves networks, and is told when they change, when a VM comes or goes, and when a host connects.

    Name service and metadata come from the network's DHCP server, so a network whose DHCP is not Flat's has neither.

    What a host should serve follows from claims: the network cards of VMs that hold a place on the host to run there. A VM
    takes its claim before it is served, and gives it back before it is released, and whatever is told to a host is told in
    that host's turn. So a host that connects while VMs come and go ends with exactly those that should be there.
    """

    name = "Flat network"
    doc = "DHCP, DNS and metadata for VMs on the hosts that they run on."
    types = (DHCP, DNS, USERDATA)

    def __init__(
        self,
        store: Store,
        bus: Bus,
        clock: Clock,
        queues: ResourceQueues,
        agents: HostAgents,
        syncs: HostSyncs,
        networks: L3Networks,
        neighbours: Neighbours,
        settings: GlobalConfig,
    ) -> None:
        self._store = store
        self._bus = bus
        self._queues = queues
        self._agents = agents
        self._syncs = syncs
        self._networks = networks
        self._neighbours = neighbours
        self._settings = settings
        self._served = Recent(clock, self._look_up)
        self._tasks = Tasks()
        syncs.register(KIND, self._sync)

    async def start(self) -> None:
        """Nothing to begin: hosts are told when they connect, and when something changes."""

    async def stop(self) -> None:
        """End what is being told in the background. Safe to repeat."""
        await self._tasks.stop()

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
        self._tasks.start(self._tell_change(l3_network), f"flat network {l3_network}")

    async def _tell_change(self, l3_network: L3NetworkId) -> None:
        """Have the hosts that serve a network serve it as it is now."""
        try:
            hosts = await self._store.read(lambda tx: hosts_of(tx, l3_network))
        except CairnError as error:
            _log.warning("flat.change-not-told", l3_network=l3_network, error=str(error))
            return
        gate = asyncio.Semaphore(_PARALLELISM)

        async def one(host: HostId) -> None:
            async with gate:
                await self._syncs.sync(host, KIND, l3_network)

        await asyncio.gather(*(one(host) for host in hosts))

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
        if not guests:
            return
        served = await self._claimed(await self._served.get(guests))
        commands = [_serving(one, guests[network]) for network, one in served.items()]
        await self._in_turn(vm.host_uuid, lambda: self._send(vm.host_uuid, commands))
        for network in served:
            self._neighbours.changed(network)

    async def release(self, vm: VmNetworks) -> None:
        """Have the VM's host forget its network cards; one that knows none is success.

        So is one that cannot be reached: what it serves is made from claims when it can be, and the VM has none any more.
        """
        guests = _by_network(_guests(vm))
        served = await self._served.get(guests)
        commands = [
            RemoveDhcpEntries(network=network, macs=[guest.nic.mac for guest in guests[network]], vms=[vm.uuid])
            for network, one in served.items()
            if one.dhcp_ip is not None
        ]
        if not commands:
            return
        try:
            await self._in_turn(vm.host_uuid, lambda: self._remove(vm.host_uuid, commands))
        except CairnError as error:
            if not is_out_of_reach(error):
                raise
            await self._syncs.sync(vm.host_uuid, KIND)
        for network in served:
            self._neighbours.changed(network)

    async def _remove(self, host: HostId, commands: Sequence[RemoveDhcpEntries]) -> None:
        for command in commands:
            if not (await self._agents.call(host, command)).served:
                self._neighbours.forget(host, L3NetworkId(command.network))

    async def _in_turn(self, host: HostId, work: Callable[[], Awaitable[None]]) -> None:
        await self._queues.run(network_queue(host), work, name="serve flat networks")

    async def _send(self, host: HostId, commands: Sequence[AnyCommand]) -> None:
        """Send all at a time and wait for each to end, then raise the first error: nothing is left running behind."""
        calls = (self._agents.call(host, command) for command in commands)
        for result in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    # -- one host ---------------------------------------------------------------------------------------------------------

    async def host_connecting(self, host: HostId, facts: HostFacts) -> None:
        """Make DHCP and metadata of a host what the database says. If it cannot be, the host is connected nevertheless."""
        await self._syncs.sync(host, KIND)

    async def _sync(self, host: HostId, l3_network: str) -> None:
        """Have a host serve its network cards, as they are claimed when its turn has come, and no others.

        Args:
            l3_network: only this one's; empty: all, and what the host has beyond them goes.
        """

        async def work() -> None:
            vms = (await self._bus.call(ListVmNetworks(host_uuid=host))).vms
            guests = _by_network(guest for vm in vms for guest in _guests(vm) if guest.nic.ip)
            wanted = [L3NetworkId(l3_network)] if l3_network else list(guests)
            served = await self._look_up(wanted)
            failed: CairnError | None = None
            for network, one in served.items():
                try:
                    if guests.get(network):
                        await self._serve_all(host, (await self._claimed({network: one}))[network], guests[network])
                except CairnError as error:
                    failed = failed or error
            if not l3_network:
                self._neighbours.forget(host)
                macs: dict[str, list[str]] = {
                    network: [guest.nic.mac for guest in guests.get(network, [])] for network in served
                }
                await self._agents.call(host, KeepDhcp(macs=macs))
            for network in served:
                self._neighbours.changed(network)
            if failed is not None:
                raise failed

        await self._in_turn(host, work)

    async def _serve_all(self, host: HostId, served: Served, guests: Sequence[_Guest]) -> None:
        """Have a host serve guests of one network, in as many calls as their sizes need."""
        for page in pages((_that_fits(guest) for guest in guests), _Guest.size):
            await self._agents.call(host, _serving(served, page))


def _that_fits(guest: _Guest) -> _Guest:
    """The guest; without what is told to it if that alone is more than an agent takes: the others' networks go on."""
    size = guest.size()
    if size <= PAGE_BYTES:
        return guest
    _log.warning("flat.metadata-too-large", vm=guest.vm_uuid, bytes=size, most=PAGE_BYTES)
    return replace(guest, user_data=None, ssh_keys=[])


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


def _serving(served: Served, guests: Sequence[_Guest]) -> EnsureDhcp:
    """The command that has a host serve guests of one network."""
    view = served.view
    assert served.dhcp_ip is not None
    return EnsureDhcp(
        network=view.uuid,
        bridge=view.bridge,
        dhcp_ip=served.dhcp_ip,
        netmask=view.netmask or guests[0].nic.netmask,
        gateway=view.gateway or guests[0].nic.gateway,
        dns=view.dns,
        domain=view.dns_domain,
        mtu=view.mtu,
        entries=[guest.entry() for guest in guests],
        metadata=[guest.metadata() for guest in guests] if served.metadata else [],
    )
