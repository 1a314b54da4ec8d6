"""L3 networks, their address ranges, and which VM has which address."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar

from cairn.kernel.resource import EnabledState
from cairn.kernel.store.record import (
    Doc,
    Hidden,
    Index,
    Key,
    Named,
    Nested,
    Record,
    References,
    TableMeta,
    Text,
    Unique,
    Uuids,
    Visible,
)
from cairn.services.ids import L2NetworkId, L3NetworkId, ZoneId
from cairn.services.l3.messages import Category


class L3Network(Named, frozen=True, kw_only=True):
    """A subnet on an L2 network, in which VMs have network cards."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="l3_network",
        remembered=True,
        entity="L3Network",
        noun="l3",
        title="L3 network",
        visible=Visible.PUBLIC,
        columns=("name", "uuid", "state", "category", "ipRanges.networkCidr"),
        nested={
            "ipRanges": Nested(entity="IpRange", by="l3_network_uuid", order_by="start_long"),
            "dns": Uuids(link="l3_network_dns", own="l3_network_uuid", other="dns"),
            "networkServices": Nested(entity="NetworkServiceL3NetworkRef", by="l3_network_uuid", order_by="id"),
        },
    )

    uuid: Annotated[L3NetworkId, Key()]
    type: str = "L3BasicNetwork"
    zone_uuid: Annotated[ZoneId, References("zone", join="zone", back="l3Networks")]
    l2_network_uuid: Annotated[L2NetworkId, References("l2_network", join="l2Network", back="l3Networks")]
    state: EnabledState = EnabledState.ENABLED
    category: Category = Category.PRIVATE
    system: Annotated[bool, Doc("for the cloud's own use: VMs get no network cards in it")] = False
    dns_domain: Annotated[str | None, Doc("the domain that guests are told")] = None
    ip_version: int = 4


class IpRange(Named, frozen=True, kw_only=True):
    """Addresses that a network's VMs are given."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="ip_range",
        entity="IpRange",
        noun="ip-range",
        title="IP range",
        visible=Visible.PUBLIC,
        path="/l3-networks/ip-ranges",
        columns=("name", "uuid", "startIp", "endIp", "netmask", "gateway"),
    )

    l3_network_uuid: Annotated[
        L3NetworkId, References("l3_network", join="l3Network", back="ipRanges", on_delete="cascade")
    ]
    start_ip: Annotated[str, Doc("the first address")]
    end_ip: Annotated[str, Doc("the last address, included")]
    netmask: str
    gateway: str
    network_cidr: Annotated[str, Doc("the subnet that it is in")]
    prefix_len: int
    ip_version: int = 4
    ip_range_type: str = "Normal"
    start_long: Annotated[int, Hidden()]
    end_long: Annotated[int, Hidden()]
    #: Addresses from here on were never given out by turn; those below that are free are in `ReleasedIp`.
    next_long: Annotated[int, Hidden()]


class UsedIp(Record, frozen=True, kw_only=True):
    """An address that is taken: by a VM, or by the cloud itself."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="used_ip", entity="UsedIp", visible=Visible.ADMIN, unique_together=(("l3_network_uuid", "ip_in_long"),)
    )

    uuid: Annotated[str, Key()]
    l3_network_uuid: Annotated[
        L3NetworkId, References("l3_network", join="l3Network", back="usedIps", on_delete="cascade")
    ]
    ip_range_uuid: Annotated[str, References("ip_range", join="ipRange", back="usedIps", on_delete="cascade")]
    ip: Annotated[str, Index()]
    ip_in_long: Annotated[int, Doc("the address as a number")]
    netmask: str
    gateway: str
    ip_version: int = 4
    used_for: Annotated[str | None, Index(), Doc("the VM that has it; none: the cloud itself")] = None
    create_date: datetime


class ReleasedIp(Record, frozen=True, kw_only=True):
    """An address that was given out by turn and given back. The longest released is given out first."""

    meta: ClassVar[TableMeta] = TableMeta(table="released_ip", unique_together=(("ip_range_uuid", "ip_in_long"),))

    id: Annotated[int, Key(auto=True)] = 0
    ip_range_uuid: Annotated[str, References("ip_range", on_delete="cascade")]
    ip_in_long: int


class L3NetworkDns(Record, frozen=True, kw_only=True):
    """A name server that a network's guests are told."""

    meta: ClassVar[TableMeta] = TableMeta(table="l3_network_dns", unique_together=(("l3_network_uuid", "dns"),))

    id: Annotated[int, Key(auto=True)] = 0
    l3_network_uuid: Annotated[L3NetworkId, References("l3_network", on_delete="cascade")]
    dns: str
    create_date: datetime


class NetworkServiceProvider(Record, frozen=True, kw_only=True):
    """A plugin that serves networks with DHCP and the like."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="network_service_provider",
        entity="NetworkServiceProvider",
        visible=Visible.PUBLIC,
        path="/network-services/providers",
        nested={
            "networkServiceTypes": Uuids(link="network_service_type", own="network_service_provider_uuid", other="type")
        },
    )

    uuid: Annotated[str, Key()]
    name: str
    description: Annotated[str, Text(2048)]
    type: Annotated[str, Unique()]
    create_date: datetime
    last_op_date: datetime


class NetworkServiceType(Record, frozen=True, kw_only=True):
    """A service that a provider offers."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="network_service_type", unique_together=(("network_service_provider_uuid", "type"),)
    )

    id: Annotated[int, Key(auto=True)] = 0
    network_service_provider_uuid: Annotated[str, References("network_service_provider", on_delete="cascade")]
    type: str


class NetworkServiceL3NetworkRef(Record, frozen=True, kw_only=True):
    """A provider serves a network with a service."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="network_service_l3_network_ref",
        entity="NetworkServiceL3NetworkRef",
        visible=Visible.PUBLIC,
        path="/l3-networks/network-services/refs",
        unique_together=(("l3_network_uuid", "network_service_type"),),
    )

    id: Annotated[int, Key(auto=True), Hidden()] = 0
    l3_network_uuid: Annotated[
        L3NetworkId, References("l3_network", join="l3Network", back="networkServices", on_delete="cascade")
    ]
    network_service_provider_uuid: Annotated[
        str, References("network_service_provider", join="serviceProvider", back="networkServiceRefs")
    ]
    network_service_type: Annotated[str, Doc("DHCP, DNS, Userdata, ...")]
