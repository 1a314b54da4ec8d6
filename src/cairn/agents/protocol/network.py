"""Commands about bridges, overlays, and the flat network's DHCP, DNS and metadata."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import ClassVar

from msgspec import field

from cairn.agents.protocol.wire import AgentCommand, Done, Part, Result


class EnsureBridge(AgentCommand[Done], frozen=True, kw_only=True):
    """A bridge for an L2 network without VLAN, with `physical_interface` as its port (none: ``None``).

    When the interface carries the machine's own addresses and routes they move to the bridge with it.
    """

    name: ClassVar[str] = "network.ensure-bridge"
    answer: ClassVar[type[Result]] = Done

    bridge: str  #: at most 15 characters
    physical_interface: str | None = None
    mtu: int = 1500


class EnsureVxlan(AgentCommand[Done], frozen=True, kw_only=True):
    """A bridge with a VXLAN port. `peers` is the whole set: addresses that are not in it are forgotten.

    Broadcasts are replicated to each peer (static all-zero FDB entries, RFC 7348 unicast mode).
    """

    name: ClassVar[str] = "network.ensure-vxlan"
    answer: ClassVar[type[Result]] = Done

    bridge: str
    vni: int  #: 1 to 16777214
    local_ip: str  #: this machine's tunnel address
    peers: list[str]
    port: int = 4789
    mtu: int = 1450


class VxlanPeers(Result, frozen=True, kw_only=True):
    """Whether changes of peers fitted to what was there."""

    fitted: bool = True  #: False: nothing was changed, and the whole set is wanted (`EnsureVxlan`)


class ChangeVxlanPeers(AgentCommand[VxlanPeers], frozen=True, kw_only=True):
    """Peers that a VXLAN port gets and loses. What is said does not grow with the number of peers.

    `generation` is `tunnel_generation` of all ends of the tunnels as they are afterwards. If the changes do not lead there from
    what this machine has, or the port is not there, nothing is changed, and the answer says so. Safe to repeat.
    """

    name: ClassVar[str] = "network.change-vxlan-peers"
    answer: ClassVar[type[Result]] = VxlanPeers

    bridge: str
    local_ip: str  #: this machine's tunnel address, which is an end as well
    generation: str
    add: list[str] = []
    remove: list[str] = []


def tunnel_generation(ends: Iterable[str]) -> str:
    """A digest that tells two sets of addresses of tunnels' ends apart, whatever their order."""
    return hashlib.sha256(" ".join(sorted(set(ends))).encode()).hexdigest()[:32]


class RemoveBridge(AgentCommand[Done], frozen=True, kw_only=True):
    """The bridge and its VXLAN port go; a physical port gets its addresses back. Nothing there is success."""

    name: ClassVar[str] = "network.remove-bridge"
    answer: ClassVar[type[Result]] = Done

    bridge: str


class DhcpEntry(Part, frozen=True, kw_only=True):
    """One static lease: the address and name that a VM's network card gets."""

    mac: str
    ip: str
    hostname: str
    vm: str  #: VM uuid
    is_default: bool = True  #: whether this NIC carries the VM's default route


class MetadataEntry(Part, frozen=True, kw_only=True):
    """The metadata of a VM at 169.254.169.254 (EC2 and NoCloud shape), found by its address in the network."""

    ip: str
    vm: str  #: VM uuid
    hostname: str
    user_data: bytes | None = field(default=None, name="userDataBytes")  #: byte for byte as given by the user
    ssh_keys: list[str] = []


class EnsureDhcp(AgentCommand[Done], frozen=True, kw_only=True):
    """A DHCP, DNS (dnsmasq) and metadata server for an L3 network in a name space of its own on this machine.

    It answers only the given MAC addresses (static leases), serves the given name servers or itself as DNS, gives
    `gateway` as the default route to entries that are `is_default`, and a host route to 169.254.169.254 by itself
    (RFC 3442, option 121). Its address and the metadata address stay on this machine: ARP and DHCP for them never
    cross the bridge's physical or VXLAN port, so that every host can use the same.

    `entries` are added to those that are there (same MAC or address: replaced), and `metadata` to what VMs are told (what
    is known of the same VM or address: replaced). Settings count for all entries, those that were there before too. What
    should not be there any more is taken away by `RemoveDhcpEntries` or `KeepDhcp`. Without any entry there is no server.
    """

    name: ClassVar[str] = "flat.ensure-dhcp"
    answer: ClassVar[type[Result]] = Done

    network: str  #: L3 network uuid
    bridge: str
    dhcp_ip: str  #: the server's own address
    netmask: str  #: 255.255.255.0
    gateway: str
    dns: list[str] = []
    domain: str | None = None
    mtu: int = 1500
    entries: list[DhcpEntry] = []
    metadata: list[MetadataEntry] = []


class DhcpLeft(Result, frozen=True, kw_only=True):
    """What is left of a network's server."""

    served: bool = True  #: False: the server is gone, and all that it was told with it


class RemoveDhcpEntries(AgentCommand[DhcpLeft], frozen=True, kw_only=True):
    """Stop answering those MAC addresses, and the metadata requests of those VMs.

    Nothing there is success. The last MAC address takes the server away.
    """

    name: ClassVar[str] = "flat.remove-dhcp-entries"
    answer: ClassVar[type[Result]] = DhcpLeft

    network: str
    macs: list[str]
    vms: list[str] = []


class KeepDhcp(AgentCommand[Done], frozen=True, kw_only=True):
    """Take away all DHCP entries but those of the given MAC addresses, and the metadata of addresses that have no entry then.

    A network that is not named, or of which no entry is left, loses its server. Nothing there to take away is success.
    """

    name: ClassVar[str] = "flat.keep-dhcp"
    answer: ClassVar[type[Result]] = Done

    macs: dict[str, list[str]]  #: L3 network uuid -> the MAC addresses that may stay


class SetNames(AgentCommand[Done], frozen=True, kw_only=True):
    """Names of VMs on other machines, which this machine's server of an L3 network answers beside those of its own entries.

    `names` are added (same address: replaced), then those of the addresses `gone` are taken away; `only` first forgets all
    that were told before, `anew` those in some of so many `buckets` (`cairn.agents.protocol.names`). A network without a
    server here ignores it: its names are told again when it has one.
    """

    name: ClassVar[str] = "flat.set-names"
    answer: ClassVar[type[Result]] = Done

    network: str  #: L3 network uuid
    names: dict[str, str] = {}  #: address -> host name
    gone: list[str] = []
    only: bool = False
    anew: list[int] = []  #: an agent that knows `CompareNames` knows this
    buckets: int = 0


class NamesKnown(Result, frozen=True, kw_only=True):
    """What a machine was told of names on other machines."""

    digests: list[str] = []  #: of each bucket; none: the network has no server here


class CompareNames(AgentCommand[NamesKnown], frozen=True, kw_only=True):
    """Tell the digests of the names that this machine was told (`SetNames`), in so many buckets. Changes nothing."""

    name: ClassVar[str] = "flat.compare-names"
    answer: ClassVar[type[Result]] = NamesKnown

    network: str  #: L3 network uuid
    buckets: int  #: 1 to 1024


class RemoveDhcp(AgentCommand[Done], frozen=True, kw_only=True):
    """The network's server, name space and metadata go."""

    name: ClassVar[str] = "flat.remove-dhcp"
    answer: ClassVar[type[Result]] = Done

    network: str
