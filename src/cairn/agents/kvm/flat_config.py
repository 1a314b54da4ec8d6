"""The pure parts of a flat network's server: names, dnsmasq's files, nftables rules."""

from __future__ import annotations

import hashlib
import ipaddress
from pathlib import Path

import msgspec
from msgspec import Struct

from cairn.agents.errors import AgentError
from cairn.agents.ids import check_domain, check_interface, check_ip, check_mac, check_uuid
from cairn.agents.protocol import codes
from cairn.agents.protocol.names import MOST_BUCKETS, bucket_of, host_name
from cairn.agents.protocol.network import DhcpEntry, EnsureDhcp, MetadataEntry, SetNames

METADATA_IP = "169.254.169.254"
OUTER_PREFIX = "cfd"
INNER = "eth0"


class FlatNetwork(Struct, frozen=True, kw_only=True):
    """The settings of one network's server; kept over restarts."""

    network: str
    dhcp: EnsureDhcp | None = None  #: without its entries and metadata; None: no server so far
    entries: dict[str, DhcpEntry] = {}  #: by MAC
    metadata: dict[str, MetadataEntry] = {}  #: by IP
    names: dict[str, str] = {}  #: of VMs on other machines, by IP

    @property
    def namespace(self) -> str:
        """The network name space of the server."""
        return f"cairn-{self.network}"

    @property
    def outer(self) -> str:
        """The server's port in the bridge, at most 15 characters."""
        return f"{OUTER_PREFIX}{self.network[:12]}"

    @property
    def mac(self) -> str:
        """The server's MAC address: the same on every host, so that a VM that moves finds its server again."""
        digest = hashlib.blake2b(self.network.encode(), digest_size=5).hexdigest()
        return "0a:" + ":".join(digest[i : i + 2] for i in range(0, 10, 2))

    @property
    def table(self) -> str:
        """The nftables table of the network."""
        return f"cairn_flat_{self.network}"


def with_dhcp(before: FlatNetwork, command: EnsureDhcp) -> FlatNetwork:
    """`before` as `command` wants it: settings replaced, entries and metadata added or replaced.

    Raises:
        AgentError: ``agent.bad-request`` when a value could not be written into a configuration file as it is.
    """
    check(command)
    new = {entry.mac: entry for entry in map(_checked_entry, command.entries)}
    addresses = {entry.ip for entry in new.values()}
    kept = {mac: entry for mac, entry in before.entries.items() if entry.ip not in addresses}
    settings = msgspec.structs.replace(command, entries=[], metadata=[])
    metadata = _with_metadata(before.metadata, command.metadata)
    return msgspec.structs.replace(before, dhcp=settings, entries={**kept, **new}, metadata=metadata)


def keeping(before: FlatNetwork, macs: set[str]) -> FlatNetwork:
    """`before` with these entries only, and with the metadata of their addresses."""
    entries = {mac: entry for mac, entry in before.entries.items() if mac in macs}
    addresses = {entry.ip for entry in entries.values()}
    metadata = {ip: one for ip, one in before.metadata.items() if ip in addresses}
    return msgspec.structs.replace(before, entries=entries, metadata=metadata)


def with_names(before: FlatNetwork, command: SetNames) -> FlatNetwork:
    """`before` with the names of VMs on other machines as `command` wants them.

    Raises:
        AgentError: ``agent.bad-request`` for what is not an address.
    """
    told = {check_ip("names", ip): host_name(name, ip) for ip, name in command.names.items()}
    names = {**_left(before.names, command), **told}
    for ip in command.gone:
        names.pop(ip, None)
    return msgspec.structs.replace(before, names=names)


def _left(names: dict[str, str], command: SetNames) -> dict[str, str]:
    """The names that stay before others are added."""
    if command.only:
        return {}
    if not command.anew:
        return names
    buckets, anew = check_buckets(command.buckets), set(command.anew)
    return {ip: name for ip, name in names.items() if bucket_of(ip, buckets) not in anew}


def check_buckets(buckets: int) -> int:
    """The number of buckets, if it is one (``agent.bad-request``)."""
    if not 1 <= buckets <= MOST_BUCKETS:
        raise AgentError(codes.BAD_REQUEST, f"buckets: {buckets} was found; 1 to {MOST_BUCKETS} would fit.")
    return buckets


def without(before: FlatNetwork, macs: set[str], vms: set[str]) -> FlatNetwork:
    """`before` without these entries, and without the metadata of these VMs."""
    return msgspec.structs.replace(
        before,
        entries={mac: entry for mac, entry in before.entries.items() if mac not in macs},
        metadata={ip: one for ip, one in before.metadata.items() if one.vm not in vms},
    )


def _with_metadata(before: dict[str, MetadataEntry], given: list[MetadataEntry]) -> dict[str, MetadataEntry]:
    """Add metadata, replacing all that is known of the same VMs: they may have other addresses."""
    for one in given:
        check_uuid("metadata.vm", one.vm)
    named = {one.vm for one in given}
    kept = {ip: one for ip, one in before.items() if one.vm not in named}
    return {**kept, **{check_ip("metadata.ip", one.ip): one for one in given}}


def check(command: EnsureDhcp) -> None:
    """Refuse values that cannot be written into dnsmasq's configuration."""
    check_uuid("network", command.network)
    check_interface("bridge", command.bridge)
    check_ip("dhcpIp", command.dhcp_ip)
    for server in command.dns:
        check_ip("dns", server)
    if command.gateway:
        check_ip("gateway", command.gateway)
    if command.domain:
        check_domain("domain", command.domain)
    subnet(command)


def subnet(command: EnsureDhcp) -> ipaddress.IPv4Network:
    """The network's addresses.

    Raises:
        AgentError: ``agent.bad-request``.
    """
    try:
        return ipaddress.IPv4Network(f"{command.dhcp_ip}/{command.netmask}", strict=False)
    except ValueError as error:
        raise AgentError(codes.BAD_REQUEST, f"netmask: {error}; 255.255.255.0 would fit.") from None


def _checked_entry(entry: DhcpEntry) -> DhcpEntry:
    ip = check_ip("entries.ip", entry.ip)
    return msgspec.structs.replace(
        entry, mac=check_mac("entries.mac", entry.mac), ip=ip, hostname=host_name(entry.hostname, ip)
    )


def dnsmasq_conf(network: FlatNetwork, dhcp: EnsureDhcp, folder: Path) -> str:
    """The configuration file. Clients that know option 121 ignore option 3, so it repeats the default route.

    There is no server above this one, and neither ``domain-needed`` nor ``bogus-priv``: they would have dnsmasq deny names
    and addresses that it does not know, which only who knows all of them may do. So it refuses them (REFUSED), and answers
    for the names that it knows: each is a domain of its own (`own_names`).
    """
    metadata_route = f"{METADATA_IP}/32,{dhcp.dhcp_ip}"
    default_route = f",0.0.0.0/0,{dhcp.gateway}" if dhcp.gateway else ""
    lines = [
        f"pid-file={folder / 'dnsmasq.pid'}",
        "user=nobody",
        "group=nogroup",
        f"interface={INNER}",
        "bind-interfaces",
        "except-interface=lo",
        "no-hosts",
        "no-resolv",
        "no-poll",
        f"addn-hosts={folder / 'names'}",
        f"servers-file={folder / 'own'}",
        "leasefile-ro",
        "dhcp-authoritative",
        "dhcp-ignore=tag:!known",
        f"dhcp-hostsfile={folder / 'hosts'}",
        f"dhcp-range={subnet(dhcp).network_address},static,{dhcp.netmask},24h",
        f"dhcp-option=tag:default,3,{dhcp.gateway}" if dhcp.gateway else "dhcp-option=3",
        "dhcp-option=tag:!default,3",
        f"dhcp-option=6,{','.join(dhcp.dns) or dhcp.dhcp_ip}",
        f"dhcp-option=26,{dhcp.mtu}",
    ]
    for option in (121, 249):
        lines.append(f"dhcp-option=tag:default,{option},{metadata_route}{default_route}")
        lines.append(f"dhcp-option=tag:!default,{option},{metadata_route}")
    if dhcp.domain:
        lines += [f"domain={dhcp.domain}", f"dhcp-option=15,{dhcp.domain}", "expand-hosts"]
    return "".join(f"{line}\n" for line in lines)


def dhcp_hosts(network: FlatNetwork) -> str:
    """The static leases in dnsmasq's format, ordered by address so that the file changes only when they do.

    No names: in this file ``ignore``, ``infinite``, ``12345`` and ``2h`` are words of dnsmasq's own. It takes the name that it
    gives to a client from the file of names, by the client's address; there a name is a name.
    """
    entries = sorted(network.entries.values(), key=lambda e: ipaddress.IPv4Address(e.ip))
    return "".join(f"{e.mac}{',set:default' if e.is_default else ''},{e.ip}\n" for e in entries)


def dns_names(network: FlatNetwork) -> str:
    """The names that the server answers, in the shape of ``/etc/hosts``: of its own entries, and of VMs on other machines."""
    names = {**network.names, **{entry.ip: entry.hostname for entry in network.entries.values()}}
    return "".join(f"{ip} {names[ip]}\n" for ip in sorted(names, key=ipaddress.IPv4Address))


def own_names(network: FlatNetwork) -> str:
    """The names that the server answers for: of what is not known of these (an IPv6 address) it says that there is none.

    Without that it would refuse to answer, and a guest that asks for both kinds of address would take neither.
    """
    names = {*network.names.values(), *(entry.hostname for entry in network.entries.values())}
    domain = network.dhcp.domain if network.dhcp is not None else None
    full = sorted(f"/{name}.{domain}/" for name in names) if domain else []
    return "".join(f"server={name}\n" for name in [*sorted(f"/{name}/" for name in names), *full])


def isolation_rules(network: FlatNetwork, dhcp: EnsureDhcp, uplink: str | None) -> str:
    """An nftables script that keeps the server to this machine; it replaces what was there in one transaction.

    Every host has a server with the same addresses and MAC address. Nothing passes between the server's port and the
    uplink; ARP for its addresses, frames with its MAC address, and DHCP of the VMs that are served here do not cross
    the uplink in either direction. Only forwarded frames are looked at, so the machine's own DHCP and ARP are left
    alone. No connection tracking: the bridge family often has none.
    """
    replace = f"table bridge {network.table} {{ }}\ndelete table bridge {network.table}\n"
    if uplink is None:
        return replace
    rules = [
        f'iifname "{network.outer}" oifname "{uplink}" drop',
        f'iifname "{uplink}" oifname "{network.outer}" drop',
    ]
    addresses = f"{{ {dhcp.dhcp_ip}, {METADATA_IP} }}"
    for direction in ("iifname", "oifname"):
        port = f'{direction} "{uplink}"'
        rules += [
            f"{port} ether saddr {network.mac} drop",
            f"{port} ether daddr {network.mac} drop",
            f"{port} arp saddr ip {addresses} drop",
            f"{port} arp daddr ip {addresses} drop",
            f"{port} ip saddr {dhcp.dhcp_ip} udp sport 67 drop",
        ]
    if network.entries:
        macs = ", ".join(sorted(network.entries))
        rules += [
            f'oifname "{uplink}" ether saddr {{ {macs} }} udp dport 67 drop',
            f'iifname "{uplink}" ether daddr {{ {macs} }} udp sport 67 drop',
        ]
    body = "".join(f"    {rule}\n" for rule in rules)
    chain = f"  chain forward {{\n    type filter hook forward priority -210; policy accept;\n{body}  }}\n"
    return f"{replace}table bridge {network.table} {{\n{chain}}}\n"
