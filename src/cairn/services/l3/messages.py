"""API messages about L3 networks, and the records that they answer with."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from cairn.kernel.api import (
    ApiChangeState,
    ApiCommand,
    ApiCreate,
    ApiDelete,
    ApiQuery,
    ApiUpdate,
    Description,
    Http,
    Name,
    Reference,
    Refers,
    Uuid,
    action,
    delete,
    get,
    post,
)
from cairn.kernel.words import END
from cairn.services.ids import L3NetworkId
from cairn.services.l3.subnet import Range, address, by_cidr, by_ends

Ipv4 = Annotated[str, Meta(min_length=7, max_length=15, description="an IPv4 address, 10.0.0.1")]
_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
DnsDomain = Annotated[
    str, Meta(max_length=253, pattern=rf"^{_LABEL}(\.{_LABEL})*{END}", description="cloud.example.com")
]
ServiceMap = Annotated[dict[str, list[str]], Meta(min_length=1, description="provider's uuid -> service types")]


class Category(StrEnum):
    """The purpose of a network."""

    PUBLIC = "Public"
    PRIVATE = "Private"
    SYSTEM = "System"


class ClaimedAddress(Struct, frozen=True, kw_only=True):
    """An address taken for a VM in one of its networks."""

    l3_network_uuid: L3NetworkId
    used_ip_uuid: str
    ip_range_uuid: str
    ip: str
    netmask: str
    gateway: str


class CreateL3Network(ApiCreate, frozen=True, kw_only=True, tag="l3.create"):
    """Make an L3 network on an L2 network. It needs an address range before VMs can have network cards in it.

    Providers that serve networks by themselves (``Flat``, unless its setting says otherwise) attach their services.
    """

    http: ClassVar[Http] = post("/l3-networks")
    entity: ClassVar[str | None] = "L3Network"

    name: Name
    description: Description | None = None
    l2_network_uuid: Annotated[Uuid, Refers("L2Network")]
    type: Literal["L3BasicNetwork"] = "L3BasicNetwork"
    category: Category = Category.PRIVATE
    ip_version: Literal[4] = 4
    system: bool = False  #: for the cloud's own use: VMs get no network cards in it
    dns_domain: DnsDomain | None = None  #: the domain that guests are told


class UpdateL3Network(ApiUpdate, frozen=True, kw_only=True, tag="l3.update"):
    """Change an L3 network; fields that are left out stay. Guests learn of another domain when they are started again.

    Network cards that VMs have in a network that becomes `system` stay.

    Errors: ``l3.not-found``.
    """

    http: ClassVar[Http] = action("/l3-networks/{uuid}/actions", "updateL3Network")
    entity: ClassVar[str | None] = "L3Network"

    dns_domain: DnsDomain | None = None
    category: Category | None = None
    system: bool | None = None


class ChangeL3NetworkState(ApiChangeState, frozen=True, kw_only=True, tag="l3.change-state"):
    """Enable an L3 network, or disable it: it gives no addresses to new network cards, those that are there stay."""

    http: ClassVar[Http] = action("/l3-networks/{uuid}/actions", "changeL3NetworkState")
    entity: ClassVar[str | None] = "L3Network"


class DeleteL3Network(ApiDelete, frozen=True, kw_only=True, tag="l3.delete"):
    """Remove an L3 network with its address ranges. Errors: ``l3.in-use`` while VMs have network cards in it."""

    http: ClassVar[Http] = delete("/l3-networks/{uuid}")
    entity: ClassVar[str | None] = "L3Network"

    uuid: Uuid


class AddIpRange(ApiCreate, frozen=True, kw_only=True, tag="l3.add-ip-range"):
    """Add addresses to an L3 network, from `startIp` to `endIp`, both included.

    All ranges of a network are of one subnet with one gateway. Errors: ``ip-range.invalid`` (which field, what would fit),
    ``ip-range.another-subnet``, ``ip-range.overlaps`` (with a range of any network of the same L2 network).
    """

    http: ClassVar[Http] = post("/l3-networks/{l3NetworkUuid}/ip-ranges")
    entity: ClassVar[str | None] = "IpRange"

    l3_network_uuid: Annotated[Uuid, Refers("L3Network")]
    name: Name
    description: Description | None = None
    start_ip: Ipv4
    end_ip: Ipv4
    netmask: Ipv4
    gateway: Ipv4 | None = None  #: outside of the range; by default the first address of the subnet

    def check(self) -> None:
        """Refuse ends, a netmask and a gateway that do not fit each other."""
        self.ranges()

    def ranges(self) -> list[Range]:
        """The range that is asked for (``l3.bad-address``, ``ip-range.invalid``)."""
        return [by_ends(self.start_ip, self.end_ip, self.netmask, self.gateway)]


class AddIpRangeByNetworkCidr(ApiCreate, frozen=True, kw_only=True, tag="l3.add-ip-range-by-cidr"):
    """Add all addresses of a subnet but its gateway to an L3 network.

    A gateway in the middle of the subnet leaves two ranges; the answer is the one that begins lower. Errors: as `AddIpRange`.
    """

    http: ClassVar[Http] = post("/l3-networks/{l3NetworkUuid}/ip-ranges/by-cidr")
    entity: ClassVar[str | None] = "IpRange"

    l3_network_uuid: Annotated[Uuid, Refers("L3Network")]
    name: Name
    description: Description | None = None
    network_cidr: Annotated[str, Meta(max_length=18, description="a subnet, 10.0.0.0/24")]
    gateway: Ipv4 | None = None  #: by default the first address of the subnet

    def check(self) -> None:
        """Refuse a subnet that VMs cannot have, and a gateway outside of it."""
        self.ranges()

    def ranges(self) -> list[Range]:
        """The one or two ranges that are asked for (``l3.bad-address``, ``ip-range.invalid``)."""
        return by_cidr(self.network_cidr, self.gateway)


class DeleteIpRange(ApiDelete, frozen=True, kw_only=True, tag="l3.delete-ip-range"):
    """Remove an address range. Errors: ``ip-range.in-use`` while VMs have addresses of it.

    If the network's DHCP servers have their address in it, they get another one of the network's other ranges at once
    (``l3.no-free-address`` if there is none). Guests that run learn of it when they next ask for their lease, at half of its
    24 hours or when they are rebooted; until then they do not find the name server and metadata.
    """

    http: ClassVar[Http] = delete("/l3-networks/ip-ranges/{uuid}")
    entity: ClassVar[str | None] = "IpRange"

    uuid: Uuid


class AddDnsToL3Network(ApiCommand[Reference], frozen=True, kw_only=True, tag="l3.add-dns"):
    """Add a name server that guests are told. One that is there already is success.

    Hosts' DHCP servers tell it from now on; guests learn of it when they next ask for their lease.
    """

    http: ClassVar[Http] = post("/l3-networks/{l3NetworkUuid}/dns")
    entity: ClassVar[str | None] = "L3Network"

    l3_network_uuid: Annotated[Uuid, Refers("L3Network")]
    dns: Ipv4

    def check(self) -> None:
        """Refuse a text that is not an address (``l3.bad-address``)."""
        address("dns", self.dns)


class RemoveDnsFromL3Network(ApiCommand[Reference], frozen=True, kw_only=True, tag="l3.remove-dns"):
    """Take a name server away. One that is not there is success."""

    http: ClassVar[Http] = delete("/l3-networks/{l3NetworkUuid}/dns/{dns}")
    entity: ClassVar[str | None] = "L3Network"

    l3_network_uuid: Annotated[Uuid, Refers("L3Network")]
    dns: Ipv4

    def check(self) -> None:
        """Refuse a text that is not an address (``l3.bad-address``)."""
        address("dns", self.dns)

    def frees(self) -> bool:
        """A removal does."""
        return True


class AttachNetworkServiceToL3Network(ApiCommand[Reference], frozen=True, kw_only=True, tag="l3.attach-service"):
    """Have providers serve an L3 network. Services that are attached already are success.

    Errors: ``l3.no-provider``, ``l3.not-offered`` (with what the provider offers), ``l3.service-taken`` (another provider has
    that service in this network; detach it first).
    """

    http: ClassVar[Http] = post("/l3-networks/{l3NetworkUuid}/network-services")
    entity: ClassVar[str | None] = "L3Network"

    l3_network_uuid: Annotated[Uuid, Refers("L3Network")]
    network_services: ServiceMap


class DetachNetworkServiceFromL3Network(ApiCommand[Reference], frozen=True, kw_only=True, tag="l3.detach-service"):
    """Take services from an L3 network. Services that are not attached are success.

    Errors: ``l3.in-use`` while VMs have network cards in it.
    """

    http: ClassVar[Http] = delete("/l3-networks/{l3NetworkUuid}/network-services")
    entity: ClassVar[str | None] = "L3Network"

    l3_network_uuid: Annotated[Uuid, Refers("L3Network")]
    network_services: ServiceMap

    def frees(self) -> bool:
        """A detachment ends something."""
        return True


class FreeIp(Struct, frozen=True, kw_only=True, rename="camel"):
    """An address that is free."""

    ip_range_uuid: str
    ip: str
    netmask: str
    gateway: str


class FreeIps(Struct, frozen=True, kw_only=True, rename="camel"):
    """Free addresses of a network, lowest first."""

    inventories: list[FreeIp]


class GetFreeIp(ApiQuery[FreeIps], frozen=True, kw_only=True, tag="l3.free-ip"):
    """Free addresses of an L3 network, lowest first. They may be taken by others at any moment."""

    http: ClassVar[Http] = get("/l3-networks/{l3NetworkUuid}/ip/free")

    l3_network_uuid: Annotated[Uuid, Refers("L3Network")]
    ip_range_uuid: Annotated[Uuid, Refers("IpRange")] | None = None  #: only of this range
    start: Ipv4 | None = None  #: only from this address on
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class IpCapacityData(Struct, frozen=True, kw_only=True, rename="camel"):
    """The addresses of one resource."""

    resource_uuid: str
    total_capacity: int
    available_capacity: int
    used_ip_address_number: int


class IpCapacity(Struct, frozen=True, kw_only=True, rename="camel"):
    """How many addresses there are."""

    total_capacity: int
    available_capacity: int
    used_ip_address_number: int
    ipv4_total_capacity: int
    ipv4_available_capacity: int
    ipv4_used_ip_address_number: int
    ipv6_total_capacity: int = 0
    ipv6_available_capacity: int = 0
    ipv6_used_ip_address_number: int = 0
    resource_type: str  #: whose numbers `capacity_data` has: ``Zone``, ``L3Network`` or ``IpRange``
    capacity_data: list[IpCapacityData]
    success: bool = True


class GetIpAddressCapacity(ApiQuery[IpCapacity], frozen=True, kw_only=True, tag="l3.ip-capacity"):
    """How many addresses address ranges, L3 networks or zones have; give one of the lists, or `all`."""

    http: ClassVar[Http] = get("/ip-capacity")

    zone_uuids: list[Annotated[Uuid, Refers("Zone")]] = []
    l3_network_uuids: list[Annotated[Uuid, Refers("L3Network")]] = []
    ip_range_uuids: list[Annotated[Uuid, Refers("IpRange")]] = []
    all: bool = False  #: of all zones


class IpAvailability(Struct, frozen=True, kw_only=True, rename="camel"):
    """Tells whether an address can be taken."""

    available: bool
    reason: str | None = None  #: why not
    success: bool = True


class CheckIpAvailability(ApiQuery[IpAvailability], frozen=True, kw_only=True, tag="l3.check-ip"):
    """Whether an address of an L3 network can be taken."""

    http: ClassVar[Http] = get("/l3-networks/{l3NetworkUuid}/ip/{ip}/availability")

    l3_network_uuid: Annotated[Uuid, Refers("L3Network")]
    ip: Ipv4
    ip_range_check: bool = True  #: whether it must be in one of the network's ranges


class NetworkServiceTypes(Struct, frozen=True, kw_only=True):
    """The network services that plugins offer."""

    types: dict[str, list[str]]  #: provider's type -> service types


class GetNetworkServiceTypes(ApiQuery[NetworkServiceTypes], frozen=True, kw_only=True, tag="l3.service-types"):
    """The network services that are offered, by provider."""

    http: ClassVar[Http] = get("/network-services/types")
