"""The flat network: for each L3 network a name space with dnsmasq and the metadata server.

`FlatNetwork` records say what should be; `_converge` makes it so from any state of the machine. It is used by commands,
the start of the agent (after a boot of the machine, too) and the watchdog. dnsmasq outlives the agent;
the metadata servers are its children, and come back with it.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from cairn.agents import log
from cairn.agents.blocking import KeyedLocks, in_thread
from cairn.agents.clock import Clock
from cairn.agents.commands import handles
from cairn.agents.errors import AgentError
from cairn.agents.ids import check_mac, check_uuid
from cairn.agents.kvm.bridges import Bridges
from cairn.agents.kvm.flat_config import (
    INNER,
    METADATA_IP,
    FlatNetwork,
    check_buckets,
    dhcp_hosts,
    dns_names,
    dnsmasq_conf,
    isolation_rules,
    keeping,
    own_names,
    subnet,
    with_dhcp,
    with_names,
    without,
)
from cairn.agents.kvm.links import Links
from cairn.agents.kvm.metadata_server import MetadataServer, NamespaceSockets
from cairn.agents.programs import ProgramRunner
from cairn.agents.protocol import codes
from cairn.agents.protocol.names import digests
from cairn.agents.protocol.network import (
    CompareNames,
    DhcpLeft,
    EnsureDhcp,
    KeepDhcp,
    NamesKnown,
    RemoveDhcp,
    RemoveDhcpEntries,
    SetNames,
)
from cairn.agents.protocol.wire import Done
from cairn.agents.state import Records, write_atomically

_WATCHDOG_SECONDS = 10.0


class Flat:
    """Answers the commands of `protocol.network` about flat networks. Each network does one thing at a time."""

    def __init__(
        self,
        *,
        links: Links,
        bridges: Bridges,
        runner: ProgramRunner,
        records: Records[FlatNetwork],
        folder: Path,
        clock: Clock,
        sockets: NamespaceSockets,
        proc: Path = Path("/proc"),
        netns: Path = Path("/run/netns"),
    ) -> None:
        """`folder` holds dnsmasq's files; dnsmasq, as the user nobody, must be able to read there."""
        self._links = links
        self._bridges = bridges
        self._runner = runner
        self._records = records
        self._folder = folder
        self._clock = clock
        self._sockets = sockets
        self._proc = proc
        self._netns = netns
        self._locks = KeyedLocks()
        self._networks: dict[str, FlatNetwork] = {n.network: n for n in records}
        self._servers: dict[str, MetadataServer] = {}
        bridges.changed = self._bridge_changed

    @handles(EnsureDhcp)
    async def ensure(self, command: EnsureDhcp) -> Done:
        """Add these entries to those that are served, starting the network's servers if need be."""
        check_uuid("network", command.network)
        async with self._locks(command.network):
            before = self._network(command.network)
            after = with_dhcp(before, command)
            if not self._links.is_bridge(command.bridge):
                raise AgentError(
                    codes.MISSING_BRIDGE,
                    f"The bridge {command.bridge} is not on this host. Reconnect the host to make it.",
                )
            self._save(after)
            if after.entries:
                await self._converge(after)
            elif before.entries:
                await self._take_down(before)
        return Done()

    @handles(RemoveDhcpEntries)
    async def remove_entries(self, command: RemoveDhcpEntries) -> DhcpLeft:
        """Stop answering these MAC addresses and VMs; with the last MAC address the server goes."""
        check_uuid("network", command.network)
        gone = {check_mac("macs", mac) for mac in command.macs}
        async with self._locks(command.network):
            before = self._network(command.network)
            after = without(before, gone, set(command.vms))
            await self._change(before, after)
        return DhcpLeft(served=bool(after.entries))

    @handles(KeepDhcp)
    async def keep(self, command: KeepDhcp) -> Done:
        """Take away all entries but these, in every network; one after the other, and each even if another fails."""
        kept = {
            check_uuid("macs", uuid): {check_mac("macs", mac) for mac in macs} for uuid, macs in command.macs.items()
        }
        failed: AgentError | None = None
        for uuid in list(self._networks):
            async with self._locks(uuid):
                before = self._network(uuid)
                try:
                    await self._change(before, keeping(before, kept.get(uuid, set())))
                except AgentError as error:
                    failed = failed or error
        if failed is not None:
            raise failed
        return Done()

    @handles(SetNames)
    async def set_names(self, command: SetNames) -> Done:
        """Answer names of VMs on other machines too. A network without a server here has nobody to answer."""
        check_uuid("network", command.network)
        async with self._locks(command.network):
            before = self._network(command.network)
            after = with_names(before, command)
            if before.entries and after.names != before.names:
                self._save(after)
                await self._converge(after)
        return Done()

    @handles(CompareNames)
    async def compare_names(self, command: CompareNames) -> NamesKnown:
        """Tell digests of the names of VMs on other machines; none for a network without a server here."""
        network = self._network(check_uuid("network", command.network))
        buckets = check_buckets(command.buckets)
        return NamesKnown(digests=digests(network.names, buckets) if network.entries else [])

    async def _change(self, before: FlatNetwork, after: FlatNetwork) -> None:
        """Bring the machine from `before` to `after`, which has less. Nothing is done where nothing changes."""
        if after == before and (before.entries or before.metadata):
            return
        self._save(after)
        if not after.entries:
            await self._take_down(before)
        elif after != before:
            await self._converge(after)

    @handles(RemoveDhcp)
    async def remove(self, command: RemoveDhcp) -> Done:
        """Remove the network with its server and its metadata. Nothing there is success."""
        check_uuid("network", command.network)
        async with self._locks(command.network):
            await self._take_down(self._network(command.network))
            self._networks.pop(command.network, None)
            self._records.record(command.network).remove()
        return Done()

    def server_port(self, mac: str) -> str | None:
        """The port of the server that answers DHCP requests of this MAC address here."""
        return next((one.outer for one in self._networks.values() if mac in one.entries), None)

    async def run(self) -> None:
        """Keep every server alive until cancelled: bring back what died, or what went with a boot of the machine."""
        failing: set[str] = set()
        try:
            while True:
                for network in list(self._networks):
                    await self._check(network, failing)
                await self._clock.sleep(_WATCHDOG_SECONDS)
        finally:
            for server in self._servers.values():
                await server.stop()
            self._servers.clear()

    async def remove_all(self) -> None:
        """Take all networks away, as for a host that leaves the cloud."""
        for network in list(self._networks):
            await self.remove(RemoveDhcp(network=network))

    async def _check(self, network_uuid: str, failing: set[str]) -> None:
        async with self._locks(network_uuid):
            network = self._networks.get(network_uuid)
            if network is None or not network.entries or self._is_up(network):
                return
            try:
                await self._converge(network)
                failing.discard(network_uuid)
                log.info("flat-network.restored", network=network_uuid)
            except (AgentError, OSError) as error:
                if network_uuid not in failing:
                    log.warning("flat-network.not-restored", network=network_uuid, message=str(error))
                failing.add(network_uuid)

    async def _bridge_changed(self, bridge: str) -> None:
        """The bridge was made again, or has another uplink."""
        for uuid in list(self._networks):
            async with self._locks(uuid):
                network = self._networks.get(uuid)
                if (
                    network is not None
                    and network.dhcp is not None
                    and network.dhcp.bridge == bridge
                    and network.entries
                ):
                    await self._converge(network)

    def _network(self, uuid: str) -> FlatNetwork:
        return self._networks.get(uuid) or FlatNetwork(network=uuid)

    def _save(self, network: FlatNetwork) -> None:
        """Remember the network; one without entries and metadata is forgotten."""
        record = self._records.record(network.network)
        if network.entries or network.metadata:
            self._networks[network.network] = network
            record.save(network)
        else:
            self._networks.pop(network.network, None)
            record.remove()

    def _is_up(self, network: FlatNetwork) -> bool:
        return (
            (server := self._servers.get(network.network)) is not None
            and server.is_up
            and (self._netns / network.namespace).exists()
            and network.dhcp is not None
            and self._links.bridge_of(network.outer) == network.dhcp.bridge
            and self._pid(network) is not None
        )

    async def _converge(self, network: FlatNetwork) -> None:
        """Bring the machine, from whatever state, to a running server with these entries."""
        dhcp = network.dhcp
        if dhcp is None:
            return
        fresh = not ((self._netns / network.namespace).exists() and self._links.exists(network.outer))
        if fresh:
            await self._take_down(network)
            await self._build_namespace(network, dhcp)
        await self._configure_inside(network, dhcp)
        await self._links.batch([f"link set dev {network.outer} mtu {dhcp.mtu} master {dhcp.bridge} up"])
        await self._isolate(network, dhcp)
        await self._run_dnsmasq(network, dhcp)
        await self._serve_metadata(network)

    async def _build_namespace(self, network: FlatNetwork, dhcp: EnsureDhcp) -> None:
        await self._links.batch(
            [
                f"netns add {network.namespace}",
                f"link add {network.outer} mtu {dhcp.mtu} type veth "
                f"peer name {INNER} address {network.mac} netns {network.namespace}",
            ]
        )

    async def _configure_inside(self, network: FlatNetwork, dhcp: EnsureDhcp) -> None:
        """Give the server its addresses, and no others: the one that it had may be another's by now.

        A file says what was done last, so that nothing is run for the same again. It is written last, and goes with the
        name space; so whatever happens in between, it is done again.
        """
        inside = [
            "link set dev lo up",
            f"address flush dev {INNER}",
            f"address replace {dhcp.dhcp_ip}/{subnet(dhcp).prefixlen} dev {INNER}",
            f"address replace {METADATA_IP}/32 dev {INNER}",
            f"link set dev {INNER} mtu {dhcp.mtu} up",
        ]
        script = "".join(f"{line}\n" for line in inside)
        done = self._folder / network.network / "inside"
        if await in_thread(_read_lines, done) == set(script.splitlines()):
            return
        await self._runner.run(["ip", "-netns", network.namespace, "-batch", "-"], stdin=script)
        await in_thread(done.parent.mkdir, parents=True, exist_ok=True, mode=0o755)
        await in_thread(_write_if_new, done, script)

    async def _isolate(self, network: FlatNetwork, dhcp: EnsureDhcp) -> None:
        uplink = await in_thread(self._bridges.uplink, dhcp.bridge)
        script = isolation_rules(network, dhcp, uplink)
        await self._runner.run(["nft", "-f", "-"], stdin=script, check=uplink is not None)

    async def _run_dnsmasq(self, network: FlatNetwork, dhcp: EnsureDhcp) -> None:
        """Start dnsmasq, or tell it of new entries; restart it when more has changed.

        Leases are in its memory only, so a restart forgets them: needed when an entry went or changed, or its address
        could not be given to another VM.
        """
        folder = self._folder / network.network
        await in_thread(folder.mkdir, parents=True, exist_ok=True, mode=0o755)
        before = await in_thread(_read_lines, folder / "hosts")
        settings_changed = await in_thread(_write_if_new, folder / "dnsmasq.conf", dnsmasq_conf(network, dhcp, folder))
        names_changed = await in_thread(_write_if_new, folder / "names", dns_names(network))
        await in_thread(_write_if_new, folder / "own", own_names(network))
        hosts_changed = await in_thread(_write_if_new, folder / "hosts", dhcp_hosts(network))
        pid = await in_thread(self._pid, network)
        if pid is None or settings_changed or before - set(dhcp_hosts(network).splitlines()):
            await self._stop_dnsmasq(network)
            argv = ["ip", "netns", "exec", network.namespace, "dnsmasq", f"--conf-file={folder / 'dnsmasq.conf'}"]
            await self._runner.run(argv)
        elif hosts_changed or names_changed:
            os.kill(pid, signal.SIGHUP)

    async def _stop_dnsmasq(self, network: FlatNetwork) -> None:
        pid = await in_thread(self._pid, network)
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # it has no state to save
            while await in_thread(_has_files, self._proc / str(pid)):
                await self._clock.sleep(0.01)

    def _pid(self, network: FlatNetwork) -> int | None:
        """The living dnsmasq of the network, told from any other process by its command line."""
        folder = self._folder / network.network
        try:
            pid = int((folder / "dnsmasq.pid").read_text())
            command = (self._proc / str(pid) / "cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        return pid if str(folder / "dnsmasq.conf").encode() in command else None

    async def _serve_metadata(self, network: FlatNetwork) -> None:
        server = self._servers.get(network.network)
        if server is None or not server.is_up:
            server = self._servers[network.network] = MetadataServer(self._folder / "empty")
            await server.start(
                await self._sockets.listen(network.namespace), self._sockets.namespace(network.namespace)
            )
        await server.tell(network.metadata)

    async def _take_down(self, network: FlatNetwork) -> None:
        """Take all of the server off the machine. Nothing there is success."""
        server = self._servers.pop(network.network, None)
        if server is not None:
            await server.stop()
        await self._stop_dnsmasq(network)
        if self._links.exists(network.outer):
            await self._links.batch([f"link delete dev {network.outer}"])
        if (self._netns / network.namespace).exists():
            await self._links.batch([f"netns delete {network.namespace}"])
        script = f"table bridge {network.table} {{ }}\ndelete table bridge {network.table}\n"
        await self._runner.run(["nft", "-f", "-"], stdin=script, check=False)
        await in_thread(_remove_folder, self._folder / network.network)


def _has_files(process: Path) -> bool:
    """Whether a process may still have its sockets open: they go after its command line, and before it is a zombie."""
    try:
        state = (process / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")


def _read_lines(path: Path) -> set[str]:
    return set(path.read_text().splitlines()) if path.exists() else set()


def _write_if_new(path: Path, text: str) -> bool:
    """Write the file unless it is the same. Returns whether it was written. dnsmasq reads it as the user nobody."""
    if path.exists() and path.read_text() == text:
        return False
    write_atomically(path, text.encode(), mode=0o644)
    return True


def _remove_folder(folder: Path) -> None:
    if folder.is_dir():
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
