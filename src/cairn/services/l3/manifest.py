"""The L3 service, put together."""

from __future__ import annotations

from cairn.kernel.api import DeleteMode
from cairn.kernel.plugin.manifest import Manifest, Parts
from cairn.services.l3 import tags
from cairn.services.l3.addresses import Addresses
from cairn.services.l3.extensions import L3Networks
from cairn.services.l3.messages import (
    AddDnsToL3Network,
    AddIpRange,
    AddIpRangeByNetworkCidr,
    AttachNetworkServiceToL3Network,
    ChangeL3NetworkState,
    CheckIpAvailability,
    CreateL3Network,
    DeleteIpRange,
    DeleteL3Network,
    DetachNetworkServiceFromL3Network,
    GetFreeIp,
    GetIpAddressCapacity,
    GetNetworkServiceTypes,
    RemoveDnsFromL3Network,
    UpdateL3Network,
)
from cairn.services.l3.model import (
    IpRange,
    L3Network,
    L3NetworkDns,
    NetworkServiceL3NetworkRef,
    NetworkServiceProvider,
    NetworkServiceType,
    ReleasedIp,
    UsedIp,
)
from cairn.services.l3.networks import L3Directory
from cairn.services.l3.providers import Providers
from cairn.services.l3.ranges import RangeService
from cairn.services.l3.service import L3Service
from cairn.services.l3.steps.addresses import ClaimAddresses, ReleaseAddresses
from cairn.services.l3.steps.network import ApplyNetwork, ReleaseNetwork


def build(parts: Parts) -> None:
    """Make the service's objects."""
    addresses = Addresses(parts.ids)
    providers = Providers(parts.store, parts.extensions)
    L3Service(parts.bus, parts.jobs, parts.tags, parts.extensions, providers)
    RangeService(parts.bus, parts.store, parts.jobs, parts.ids, parts.tags, parts.extensions, providers)
    parts.extensions.provide(L3Networks, L3Directory(addresses, parts.extensions), name="l3")
    parts.cascade.register("L3Network", lambda uuid: DeleteL3Network(uuid=uuid, delete_mode=DeleteMode.ENFORCING))
    parts.steps += [
        ClaimAddresses(addresses),
        ReleaseAddresses(addresses),
        ApplyNetwork(parts.extensions),
        ReleaseNetwork(parts.extensions),
    ]
    parts.background.append(providers)


MANIFEST = Manifest(
    name="l3",
    doc="Subnets, their addresses, and who serves them.",
    build=build,
    requires=("l2",),
    records=(
        L3Network,
        IpRange,
        UsedIp,
        ReleasedIp,
        L3NetworkDns,
        NetworkServiceProvider,
        NetworkServiceType,
        NetworkServiceL3NetworkRef,
    ),
    api=(
        CreateL3Network,
        UpdateL3Network,
        ChangeL3NetworkState,
        DeleteL3Network,
        AddIpRange,
        AddIpRangeByNetworkCidr,
        DeleteIpRange,
        AddDnsToL3Network,
        RemoveDnsFromL3Network,
        AttachNetworkServiceToL3Network,
        DetachNetworkServiceFromL3Network,
        GetFreeIp,
        GetIpAddressCapacity,
        CheckIpAvailability,
        GetNetworkServiceTypes,
    ),
    tags=tags.ALL,
)
