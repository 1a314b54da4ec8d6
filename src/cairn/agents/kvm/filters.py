"""What guests and tunnels may send and hear: the one owner of the nftables tables ``cairn_taps`` and ``cairn_tunnels``.

Each tap has two chains of its own, found by a look-up of the tap's name, so a frame costs the same with one guest or a
thousand. What comes from the guest is dropped unless it carries the card's own MAC address and one of its own IPv4
addresses, in its headers and in ARP. It cannot be a DHCP server or an IPv6 router, nor speak with VLAN tags or other
protocols. What goes to the guest is dropped if it is for another, or if it is a DHCP reply from anybody but the server on this
host. So who asks the metadata server from an address is the guest that has the address.

Filters are set before the domain starts, under names that no other tap gets, and outlive the tap: a reboot of the
guest makes it again. There is no connection tracking, which the bridge family often lacks.

A VXLAN port takes packets from peers only. All ports of a machine share the set of its peers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from cairn.agents.ids import check_interface, check_ip, check_mac
from cairn.agents.programs import ProgramRunner
from cairn.agents.protocol.vm import Tap

_TABLE = "bridge cairn_taps"
_TUNNELS = "inet cairn_tunnels"
_BASE = f"""\
add table {_TABLE}
add map {_TABLE} sends {{ type ifname : verdict; }}
add map {_TABLE} hears {{ type ifname : verdict; }}
add chain {_TABLE} from-guests {{ type filter hook prerouting priority -300; policy accept; }}
add chain {_TABLE} to-guests {{ type filter hook forward priority -300; policy accept; }}
flush chain {_TABLE} from-guests
flush chain {_TABLE} to-guests
add rule {_TABLE} from-guests iifname vmap @sends
add rule {_TABLE} to-guests oifname vmap @hears
"""
_ROUTERS = "icmpv6 type { nd-router-advert, nd-redirect } drop"
#: what a system asks before it has an IPv6 address of its own
_BEFORE_ADDRESS = "{ nd-neighbor-solicit, nd-router-solicit, mld-listener-report, mld2-listener-report }"
_FRAGMENT_HEADER = 44
#: what QEMU sends in the guest's name after a migration, so that switches learn where it is now
_RARP = "0x8035"

#: The port in the bridge of the DHCP server that serves a MAC address on this host; None: none does.
ServerPort = Callable[[str], str | None]


class TapFilters:
    """Sets and removes the filters of taps. Everything is safe to repeat."""

    def __init__(self, runner: ProgramRunner, server_port: ServerPort) -> None:
        self._runner = runner
        self._server_port = server_port

    async def set(self, taps: Iterable[Tap]) -> None:
        """Filter these taps, which need not be there yet, in one transaction; the others stay as they are."""
        await self._apply(_BASE + "".join(map(self._chains, taps)))

    async def replace(self, taps: Iterable[Tap]) -> None:
        """Filter these taps and no others, in one transaction."""
        await self._apply(f"add table {_TABLE}\ndelete table {_TABLE}\n{_BASE}" + "".join(map(self._chains, taps)))

    async def remove(self, devices: Sequence[str]) -> None:
        """Forget taps by their names; those that are not known are success."""
        if devices:
            await self._apply(_BASE + "".join(map(_gone, devices)))

    async def clear(self) -> None:
        """Take everything away, as for a host that leaves the cloud."""
        await self._apply(f"add table {_TABLE}\ndelete table {_TABLE}\n")

    async def _apply(self, script: str) -> None:
        await self._runner.run(["nft", "-f", "-"], stdin=script)

    def _chains(self, tap: Tap) -> str:
        device, mac = check_interface("taps.device", tap.device), check_mac("taps.mac", tap.mac)
        addresses = [check_ip("taps.addresses", address) for address in tap.addresses]
        sends, hears = _sends(mac, addresses), _hears(mac, self._server_port(mac))
        return _made(device) + "".join(
            f"add rule {_TABLE} {kind}-{device} {rule}\n"
            for kind, rules in (("sends", sends), ("hears", hears))
            for rule in rules
        )


def _made(device: str) -> str:
    return "".join(
        f"add chain {_TABLE} {kind}-{device}\n"
        f"flush chain {_TABLE} {kind}-{device}\n"
        f'add element {_TABLE} {kind} {{ "{device}" : jump {kind}-{device} }}\n'
        for kind in ("sends", "hears")
    )


def _gone(device: str) -> str:
    check_interface("taps.device", device)
    return _made(device) + "".join(
        f'delete element {_TABLE} {kind} {{ "{device}" }}\ndelete chain {_TABLE} {kind}-{device}\n'
        for kind in ("sends", "hears")
    )


def _sends(mac: str, addresses: Sequence[str]) -> list[str]:
    """What comes from the guest: the first rule that matches decides, and what is left is dropped."""
    own = f"ip saddr {{ {', '.join(addresses)} }}" if addresses else "ether type ip"
    said = f" arp saddr ip {{ 0.0.0.0, {', '.join(addresses)} }}" if addresses else ""
    return [
        f"ether saddr != {mac} drop",
        f"arp htype 1 arp ptype ip arp hlen 6 arp plen 4 arp saddr ether {mac}{said} accept",
        f"ether type {_RARP} accept",
        "ether type ip udp sport 67 drop",
        "ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept",
        f"{own} accept",
        f"ip6 nexthdr {_FRAGMENT_HEADER} drop",
        "ether type ip6 udp sport 547 drop",
        _ROUTERS,
        "ip6 saddr fe80::/10 accept",
        f"ip6 saddr :: icmpv6 type {_BEFORE_ADDRESS} accept",
        "drop",
    ]


def _hears(mac: str, server_port: str | None) -> list[str]:
    """What goes to the guest: nothing that is for another, and DHCP replies of the host's own server only."""
    rules = [f"ether daddr & 01:00:00:00:00:00 == 00:00:00:00:00:00 ether daddr != {mac} drop"]
    if server_port is not None:
        rules.append(f'iifname != "{check_interface("port", server_port)}" ether type ip udp sport 67 drop')
    return rules


class TunnelFilter:
    """Lets a machine's VXLAN ports take packets from peers only."""

    def __init__(self, runner: ProgramRunner) -> None:
        self._runner = runner

    async def set(self, peers: Mapping[int, Iterable[str]]) -> None:
        """Take packets for these UDP ports from these addresses (by port), and for other ports from anybody. Safe to repeat."""
        await self._runner.run(["nft", "-f", "-"], stdin=tunnel_rules(peers))


def tunnel_rules(peers: Mapping[int, Iterable[str]]) -> str:
    """The script that replaces the table ``cairn_tunnels`` in one transaction. Without ports there is no table."""
    gone = f"add table {_TUNNELS}\ndelete table {_TUNNELS}\n"
    if not peers:
        return gone
    rules = ""
    for port in sorted(peers):
        allowed = sorted({check_ip("peers", address) for address in peers[port]})
        if allowed:
            rules += f"    udp dport {port} ip saddr {{ {', '.join(allowed)} }} accept\n"
        rules += f"    udp dport {port} drop\n"
    chain = f"  chain input {{\n    type filter hook input priority -10; policy accept;\n{rules}  }}\n"
    return f"{gone}table {_TUNNELS} {{\n{chain}}}\n"
