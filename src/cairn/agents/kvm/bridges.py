"""Bridges: with a physical port, or with a VXLAN port."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from msgspec import Struct
from msgspec.structs import replace

from cairn.agents import log
from cairn.agents.blocking import in_thread
from cairn.agents.commands import handles
from cairn.agents.errors import AgentError
from cairn.agents.ids import check_interface, check_ip
from cairn.agents.kvm.filters import TunnelFilter
from cairn.agents.kvm.links import Address, Links, Route
from cairn.agents.protocol import codes
from cairn.agents.protocol.network import (
    ChangeVxlanPeers,
    EnsureBridge,
    EnsureVxlan,
    RemoveBridge,
    VxlanPeers,
    tunnel_generation,
)
from cairn.agents.protocol.wire import Done
from cairn.agents.state import Records

MAX_VNI = 16_777_214
_MTU = range(576, 65536)


class BridgeRecord(Struct, frozen=True):
    """The command that made a bridge, so that it can be made again after the machine was booted."""

    bridge: str
    plain: EnsureBridge | None = None
    vxlan: EnsureVxlan | None = None

    @property
    def uplink(self) -> str | None:
        """The port that leads to other machines."""
        if self.vxlan is not None:
            return vxlan_name(self.vxlan.vni)
        return self.plain.physical_interface if self.plain is not None else None


def vxlan_name(vni: int) -> str:
    """The name of a VXLAN port: at most ``vx16777214``."""
    return f"vx{vni}"


class Bridges:
    """Answers the commands of `protocol.network` about bridges. One at a time: they are few, and share ports.

    `changed` is told the name of a bridge whose uplink may have changed.
    """

    def __init__(
        self,
        links: Links,
        records: Records[BridgeRecord],
        own_port_prefixes: tuple[str, ...],
        tunnel_filter: TunnelFilter,
    ) -> None:
        self._links = links
        self._tunnel_filter = tunnel_filter
        self._records = records
        self._own_port_prefixes = own_port_prefixes
        self._lock = asyncio.Lock()
        self.changed: Callable[[str], Awaitable[None]] | None = None

    @handles(EnsureBridge)
    async def ensure_bridge(self, command: EnsureBridge) -> Done:
        """Bring the bridge to what the command says, and remember that for the next boot."""
        check_interface("bridge", command.bridge)
        if command.physical_interface is not None:
            check_interface("physicalInterface", command.physical_interface)
        _check_mtu(command.mtu)
        async with self._lock:
            await self._ensure_plain(command)
            self._records.record(command.bridge).save(BridgeRecord(command.bridge, plain=command))
        return await self._told(command.bridge)

    @handles(EnsureVxlan)
    async def ensure_vxlan(self, command: EnsureVxlan) -> Done:
        """Bring bridge and VXLAN port to what the command says, and remember that for the next boot."""
        check_interface("bridge", command.bridge)
        _check_mtu(command.mtu)
        if not 1 <= command.vni <= MAX_VNI:
            raise AgentError(codes.BAD_REQUEST, f"vni: found {command.vni}; 1 to {MAX_VNI} would fit.")
        for address in (command.local_ip, *command.peers):
            check_ip("localIp, peers", address)
        async with self._lock:
            await self._ensure_vxlan(command)
            self._records.record(command.bridge).save(BridgeRecord(command.bridge, vxlan=command))
        return await self._told(command.bridge)

    @handles(ChangeVxlanPeers)
    async def change_peers(self, command: ChangeVxlanPeers) -> VxlanPeers:
        """Bring the port to the peers that the changes lead to, if they fit to those that it has."""
        check_interface("bridge", command.bridge)
        for address in (command.local_ip, *command.add, *command.remove):
            check_ip("localIp, add, remove", address)
        async with self._lock:
            record = self._records.record(command.bridge)
            saved = await in_thread(record.load)
            tunnel = changed_tunnel(saved.vxlan if saved is not None else None, command)
            if tunnel is None or not self._links.exists(vxlan_name(tunnel.vni)):
                return VxlanPeers(fitted=False)
            await self._ensure_vxlan(tunnel)
            await in_thread(record.save, BridgeRecord(command.bridge, vxlan=tunnel))
        return VxlanPeers()

    @handles(RemoveBridge)
    async def remove(self, command: RemoveBridge) -> Done:
        """Take the bridge away; one that VMs are connected to is refused."""
        check_interface("bridge", command.bridge)
        async with self._lock:
            await self._remove(command.bridge)
        return Done()

    def uplink(self, bridge: str) -> str | None:
        """The port of the bridge that leads to other machines."""
        record = self._records.record(bridge).load()
        return record.uplink if record is not None else None

    async def restore(self) -> None:
        """Make the bridges again that were there before the machine was booted. Failures are logged: a reconnect tells why."""
        for record in list(self._records):
            try:
                async with self._lock:
                    if record.plain is not None:
                        await self._ensure_plain(record.plain)
                    if record.vxlan is not None:
                        await self._ensure_vxlan(record.vxlan)
            except AgentError as error:
                log.warning("bridge.not-restored", bridge=record.bridge, message=error.message)

    async def remove_all(self) -> None:
        """Take all bridges of cairn away, as for a host that leaves the cloud."""
        async with self._lock:
            for record in list(self._records):
                await self._remove(record.bridge)

    async def _told(self, bridge: str) -> Done:
        if self.changed is not None:
            await self.changed(bridge)
        return Done()

    async def _ensure_plain(self, command: EnsureBridge) -> None:
        port = command.physical_interface
        if port is not None and not self._links.exists(port):
            raise AgentError(
                codes.MISSING_INTERFACE, f"This machine has no interface {port}. Look at `ip link` and correct the L2."
            )
        master = self._links.bridge_of(port) if port is not None else None
        if master not in (None, command.bridge):
            raise AgentError(codes.BUSY, f"{port} is already a port of {master}. Take it out of there first.")
        await self._ensure_bridge_itself(command.bridge, command.mtu, port)
        if port is not None and master is None:
            await self._take_port(port, command.bridge)

    async def _ensure_bridge_itself(self, bridge: str, mtu: int, port: str | None) -> None:
        if not self._links.exists(bridge):
            await self._links.batch([f"link add name {bridge} type bridge stp_state 0 forward_delay 0"])
        elif not self._links.is_bridge(bridge):
            raise AgentError(codes.BUSY, f"{bridge} is there but is not a bridge. Choose another name for the L2.")
        if port is None:
            # This machine has no address where tenants are, not even a link-local one.
            await self._links.batch([f"link set dev {bridge} addrgenmode none"], force=True)
        await self._links.batch([f"link set dev {bridge} mtu {mtu} up"])

    async def _take_port(self, port: str, bridge: str) -> None:
        """Make `port` a port; its addresses and routes move to the bridge, in one go, and back if that fails."""
        addresses = await self._links.addresses(port)
        routes = await self._links.routes(port)
        move = [
            f"link set dev {bridge} address {self._links.mac(port)}",
            f"link set dev {port} up master {bridge}",
            *_moved(port, bridge, addresses, routes),
        ]
        try:
            await self._links.batch(move)
        except AgentError:
            back = [f"link set dev {port} nomaster", *_moved(bridge, port, addresses, routes)]
            await self._links.batch(back, force=True)
            raise

    async def _ensure_vxlan(self, command: EnsureVxlan) -> None:
        if command.local_ip not in await self._links.local_addresses():
            raise AgentError(
                codes.MISSING_INTERFACE,
                f"This machine does not have the tunnel address {command.local_ip}. Look at `ip address`, and at the "
                "CIDR of the VXLAN network.",
            )
        name = vxlan_name(command.vni)
        before = self._records.record(command.bridge).load()
        if self._links.exists(name) and before is not None and _other_tunnel(before.vxlan, command):
            await self._links.batch([f"link delete dev {name}"])
        await self._filter_tunnels(command)
        await self._ensure_bridge_itself(command.bridge, command.mtu, None)
        if not self._links.exists(name):
            await self._links.batch(
                [f"link add {name} type vxlan id {command.vni} local {command.local_ip} dstport {command.port}"]
            )
        await self._links.batch([f"link set dev {name} mtu {command.mtu} master {command.bridge} up"])
        await self._set_peers(name, set(command.peers) - {command.local_ip})

    async def _filter_tunnels(self, now: EnsureVxlan | None) -> None:
        """Have the machine's VXLAN ports take packets from the peers of its tunnels: those known, with `now` as one of them."""
        tunnels = {one.bridge: one.vxlan for one in await in_thread(list, self._records) if one.vxlan is not None}
        if now is not None:
            tunnels[now.bridge] = now
        peers: dict[int, set[str]] = {}
        for tunnel in tunnels.values():
            peers.setdefault(tunnel.port, set()).update(set(tunnel.peers) - {tunnel.local_ip})
        await self._tunnel_filter.set(peers)

    async def _set_peers(self, vxlan: str, peers: set[str]) -> None:
        """Flood to exactly `peers`, and forget the MAC addresses learned from those that have gone."""
        present = await self._links.flooded_peers(vxlan)
        for verb, changed in (("append", peers - present), ("del", present - peers)):
            for peer in sorted(changed):
                await self._links.runner.run(
                    ["bridge", "fdb", verb, "00:00:00:00:00:00", "dev", vxlan, "dst", peer, "self", "permanent"]
                )
        if present - peers:
            await self._links.runner.run(["bridge", "fdb", "flush", "dev", vxlan, "self", "dynamic"], check=False)

    async def _remove(self, bridge: str) -> None:
        record = self._records.record(bridge)
        saved = await in_thread(record.load)
        if not self._links.is_bridge(bridge):
            record.remove()
            return
        uplink = saved.uplink if saved is not None else None
        foreign = [p for p in self._links.ports(bridge) if p != uplink and not p.startswith(self._own_port_prefixes)]
        if foreign:
            raise AgentError(
                codes.BUSY,
                f"{bridge} still has the ports {', '.join(foreign)}. Stop or detach their VMs first.",
            )
        if saved is not None and saved.vxlan is not None and uplink is not None and self._links.exists(uplink):
            await self._links.batch([f"link delete dev {uplink}"])
        elif uplink is not None and self._links.bridge_of(uplink) == bridge:
            await self._give_port_back(uplink, bridge)
        await self._links.batch([f"link delete dev {bridge}"])
        record.remove()
        if saved is not None and saved.vxlan is not None:
            await self._filter_tunnels(None)

    async def _give_port_back(self, port: str, bridge: str) -> None:
        addresses = await self._links.addresses(bridge)
        routes = await self._links.routes(bridge)
        await self._links.batch([f"link set dev {port} nomaster", *_moved(bridge, port, addresses, routes)])


def changed_tunnel(tunnel: EnsureVxlan | None, command: ChangeVxlanPeers) -> EnsureVxlan | None:
    """The tunnel with the changed peers; None if the changes do not fit to it."""
    if tunnel is None or tunnel.local_ip != command.local_ip:
        return None
    peers = (set(tunnel.peers) | set(command.add)) - set(command.remove) - {tunnel.local_ip}
    if tunnel_generation(peers | {tunnel.local_ip}) != command.generation:
        return None
    return replace(tunnel, peers=sorted(peers))


def _moved(source: str, target: str, addresses: list[Address], routes: list[Route]) -> list[str]:
    """``ip`` commands that move addresses, and then the routes that went with them."""
    lines: list[str] = []
    for address in addresses:
        cidr = f"{address.local}/{address.prefixlen}"
        broadcast = f" broadcast {address.broadcast}" if address.broadcast else ""
        lines += [f"address delete {cidr} dev {source}", f"address add {cidr}{broadcast} dev {target}"]
    # A route over a gateway needs the one to the gateway's network, so those come first.
    for route in sorted(routes, key=lambda r: (r.gateway is not None, r.dst == "default")):
        parts = [f"route replace {route.dst}"]
        parts += [f"via {route.gateway}"] if route.gateway else []
        parts += [f"dev {target}"]
        parts += [f"src {route.prefsrc}"] if route.prefsrc else []
        parts += [f"metric {route.metric}"] if route.metric is not None else []
        lines.append(" ".join(parts))
    return lines


def _other_tunnel(before: EnsureVxlan | None, now: EnsureVxlan) -> bool:
    """Whether the port cannot be kept; its local address and port cannot be changed."""
    return before is None or (before.vni, before.local_ip, before.port) != (now.vni, now.local_ip, now.port)


def _check_mtu(mtu: int) -> None:
    if mtu not in _MTU:
        raise AgentError(codes.BAD_REQUEST, f"mtu: found {mtu}; {_MTU.start} to {_MTU.stop - 1} would fit.")
