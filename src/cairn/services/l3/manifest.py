"""The L3 service, put together."""

from __future__ import annotations

from cairn.kernel.api import DeleteMode
from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.services.l3.addresses import Addresses
from cairn.services.l3.extensions import L3Networks
from cairn.services.l3.messages import (
    DeleteL3Network,
)
from cairn.services.l3.networks import L3Directory
from cairn.services.l3.providers import Providers
from cairn.services.l3.ranges import RangeService
from cairn.services.l3.service import L3Service
from cairn.services.l3.steps.addresses import ClaimAddresses, ReleaseAddresses
from cairn.services.l3.steps.network import ApplyNetwork, ReleaseNetwork


def build(node: NodeContext) -> None:
    """Make the service's objects."""
    addresses = Addresses(node.ids)
    providers = Providers(node.store, node.extensions)
    L3Service(node.bus, node.jobs, node.tags, node.extensions, providers)
    RangeService(node.bus, node.store, node.jobs, node.ids, node.tags, node.extensions, providers)
    node.extensions.provide(L3Networks, L3Directory(addresses, node.extensions), name="l3")
    node.cascade.register("L3Network", lambda uuid: DeleteL3Network(uuid=uuid, delete_mode=DeleteMode.ENFORCING))
    node.steps += [
        ClaimAddresses(addresses),
        ReleaseAddresses(addresses),
        ApplyNetwork(node.extensions),
        ReleaseNetwork(node.extensions),
    ]
    node.background.append(providers)


MANIFEST = Manifest(
    package="cairn.services.l3",
    doc="Subnets, their addresses, and who serves them.",
    build=build,
    requires=("l2",),
)
