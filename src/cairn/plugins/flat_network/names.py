"""Tells each host the names of the VMs that a network has on other hosts, so that its name server knows all of the network.

A change of a network's VMs is told after a moment, many changes together, and only to hosts that have VMs of that network.
The more hosts and names a network has, the longer is the pause between two rounds, so that reading and telling take a fixed
small part of the time however many VMs come and go. Each host is told the difference to what it was told before. One that this
node has told nothing yet, or that has connected anew or failed, is asked for digests of what it knows, and told what differs; so
a node that starts, or takes a network over, does not send all names to all hosts. Until it is told, a host's server refuses
names that it does not know: it does not deny them.

One node tells all hosts of a network, the one that the ring names for it, so that it knows what they were told. Another node
that has changed the network's VMs says so to that one, once a round.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import structlog
from msgspec.structs import replace

from cairn.agents.protocol.names import bucket_of, buckets_for, digests
from cairn.agents.protocol.network import CompareNames, SetNames
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.handlers import handles
from cairn.kernel.clock import Clock
from cairn.kernel.duty import Duties
from cairn.kernel.error import CairnError
from cairn.kernel.invalidation import Keys, forget
from cairn.kernel.queue import ResourceQueues
from cairn.kernel.store.store import Store
from cairn.plugins.flat_network.messages import NamesChanged
from cairn.plugins.flat_network.pages import pages
from cairn.plugins.flat_network.placed import names_of
from cairn.services.host.provided import HostAgents, lacks_command, network_queue
from cairn.services.ids import HostId, L3NetworkId

_log = structlog.get_logger("cairn.flat")
#: between two rounds of a network
LEAST_SECONDS = 2.0
SECONDS_PER_HOST = 0.05
SECONDS_PER_NAME = 0.0005  # one is read in some 10 us
_PARALLELISM = 20
_PASS_ON_SECONDS = 5.0
_AROUND = 8  # bytes of JSON around an address and a name

Names = dict[str, str]


class Neighbours:
    """Keeps hosts' name servers up to date about VMs on other hosts."""

    def __init__(
        self, store: Store, clock: Clock, queues: ResourceQueues, agents: HostAgents, bus: Bus, duties: Duties
    ) -> None:
        self._store = store
        self._bus = bus
        self._duties = duties
        self._clock = clock
        self._queues = queues
        self._agents = agents
        self._changed: set[L3NetworkId] = set()
        self._next: dict[L3NetworkId, float] = {}  #: when a network may have its next round
        #: network -> host -> the names that it was told; hosts that were told together share one
        self._told: dict[L3NetworkId, dict[HostId, Names]] = {}

    def changed(self, l3_network: L3NetworkId) -> None:
        """A VM of the network came to a host or left it: tell the others, soon."""
        self._changed.add(l3_network)

    def forget(self, host: HostId, l3_network: L3NetworkId | None = None) -> None:
        """A host's server (None: all of them) may have lost what it was told: see what it knows, at the next change."""
        for network in list(self._told) if l3_network is None else [l3_network]:
            self._told.get(network, {}).pop(host, None)

    def hosts_changed(self, hosts: Keys) -> None:
        """Another node may have connected them: they may have lost what they were told."""
        for told in self._told.values():
            forget(told, hosts)

    @handles(NamesChanged)
    async def names_changed(self, message: NamesChanged) -> None:
        """The VMs of a network that this node tells of were changed by another."""
        self.changed(message.l3_network)

    async def round(self) -> None:
        """Tell the hosts of each network that has changed, and had its pause; one network after the other."""
        now = self._clock.monotonic()
        for network in [one for one in self._changed if self._next.get(one, now) <= now]:
            if self._duties.is_mine(network):
                await self._try(network)
            else:
                await self._pass_on(network)

    async def _pass_on(self, l3_network: L3NetworkId) -> None:
        """Say to the node that tells the network's hosts that it has changed; if that fails, in the next round."""
        self._changed.discard(l3_network)
        self._told.pop(l3_network, None)  # what is told from now on is another's
        try:
            await self._bus.call(NamesChanged(l3_network=l3_network), timeout_seconds=_PASS_ON_SECONDS)
        except CairnError as error:
            self._changed.add(l3_network)
            _log.info("flat.names-not-passed-on", l3_network=l3_network, error=str(error))

    async def _try(self, l3_network: L3NetworkId) -> None:
        self._changed.discard(l3_network)
        try:
            pause = await self.tell(l3_network)
        except Exception as error:  # noqa: BLE001 (whatever happens to one network, the others are told)
            _log.warning("flat.names-not-told", l3_network=l3_network, error=str(error) or repr(error))
            pause = 0.0
        self._next[l3_network] = self._clock.monotonic() + pause

    async def tell(self, l3_network: L3NetworkId) -> float:
        """Tell all hosts of a network what they do not know yet. Returns the seconds until it may be done again.

        What a host knows that does not take it is found out at the next change.
        """
        hosts, names = await self._store.read(lambda tx: names_of(tx, l3_network))
        pause = len(hosts) * SECONDS_PER_HOST + len(names) * SECONDS_PER_NAME
        told = self._told.get(l3_network, {})
        told = self._told[l3_network] = {host: known for host, known in told.items() if host in hosts}
        if len(hosts) < 2:  # it knows its own
            del self._told[l3_network]
            return pause
        gate = asyncio.Semaphore(_PARALLELISM)
        fresh = _Telling(l3_network, names)
        before = list(told.values())  # kept alive, so that no two have the same id

        async def one(host: HostId) -> None:
            known = told.get(host)
            async with gate:
                try:
                    taken = await self._send(host, fresh, known)
                except CairnError as error:
                    taken = False
                    _log.info("flat.names-not-taken", host=host, l3_network=l3_network, error=str(error))
                if taken:
                    told[host] = names
                else:
                    told.pop(host, None)

        await asyncio.gather(*(one(host) for host in sorted(hosts)))
        del before
        return pause

    async def _send(self, host: HostId, telling: _Telling, known: Names | None) -> bool:
        """False: the host has no server of the network yet. When it has one, the network has changed."""
        if known is not None and not telling.since(known):
            return True

        async def work() -> bool:
            if known is not None:
                commands = telling.since(known)
            elif (there := await self._compared(host, telling)) == []:
                return False
            else:
                commands = telling.instead(there)
            for command in commands:
                await self._agents.call(host, command)
            return True

        return await self._queues.run(network_queue(host), work, name="tell names of VMs")

    async def _compared(self, host: HostId, telling: _Telling) -> list[str] | None:
        """The digests of what a host knows, none if it has no server; None if its agent is too old to tell."""
        try:
            return (await self._agents.call(host, telling.question)).digests
        except CairnError as error:
            if not lacks_command(error):
                raise
            return None


class _Telling:
    """The names of a network, and the commands that bring hosts to them; hosts that are alike share these."""

    def __init__(self, l3_network: L3NetworkId, names: Names) -> None:
        self._network = l3_network
        self._names = names
        self._since: dict[int, list[SetNames]] = {}
        self._digests: list[str] = []
        self.question = CompareNames(network=l3_network, buckets=buckets_for(len(names)))

    def since(self, known: Names) -> list[SetNames]:
        """The commands for hosts that know `known`, which lives as long as this."""
        key = id(known)
        if key not in self._since:
            self._since[key] = list(_difference(self._network, known, self._names))
        return self._since[key]

    def instead(self, there: list[str] | None) -> list[SetNames]:
        """The commands for a host that knows something with these digests; None: all that it knows is forgotten."""
        buckets = self.question.buckets
        if there is None or len(there) != buckets:
            return list(self._pages(self._names, SetNames(network=self._network, only=True)))
        self._digests = self._digests or digests(self._names, buckets)
        differ = [number for number in range(buckets) if self._digests[number] != there[number]]
        if not differ:
            return []
        chosen = set(differ)
        names = {ip: name for ip, name in self._names.items() if bucket_of(ip, buckets) in chosen}
        return list(self._pages(names, SetNames(network=self._network, anew=differ, buckets=buckets)))

    def _pages(self, names: Names, first: SetNames) -> Iterator[SetNames]:
        """As many commands as the names need, `first` with some of them, and if there is none."""
        for page in pages(names.items(), _size) if names else [[]]:
            yield replace(first, names=dict(page))
            first = SetNames(network=self._network)


def _difference(l3_network: L3NetworkId, known: Names, names: Names) -> Iterator[SetNames]:
    """The commands that bring a host from `known` to `names`."""
    for left in pages([ip for ip in known if ip not in names], lambda ip: len(ip) + _AROUND):
        yield SetNames(network=l3_network, gone=left)
    for page in pages(((ip, name) for ip, name in names.items() if known.get(ip) != name), _size):
        yield SetNames(network=l3_network, names=dict(page))


def _size(item: tuple[str, str]) -> int:
    return len(item[0]) + len(item[1]) + _AROUND
