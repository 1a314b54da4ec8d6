"""The L3 service, put together."""

from __future__ import annotations

from collections.abc import Sequence

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.services.host.extensions import HostFilter
from cairn.services.l2.extensions import L2AttachmentChanged
from cairn.services.l2.provided import L2Networks
from cairn.services.l3.addresses import Addresses
from cairn.services.l3.extensions import NetworkChanged
from cairn.services.l3.networks import L3Registry, NetworkChanges
from cairn.services.l3.placement import ReachesNetworks
from cairn.services.l3.provided import L3Networks
from cairn.services.l3.providers import Providers
from cairn.services.l3.ranges import RangeService
from cairn.services.l3.service import L3Service
from cairn.services.l3.steps.realize import Bridges


def build(node: NodeContext) -> Sequence[object]:
    """Make the service's objects."""
    addresses = Addresses(node.ids)
    registry = L3Registry(addresses, node.need(L2Networks))
    providers = Providers(node.store, node.extensions)
    changes = NetworkChanges(node.extensions)
    bridges = Bridges(node.store, node.clock, registry)
    node.bus.serve(L3Service(node.jobs, node.tags, providers, changes))
    node.bus.serve(RangeService(node.store, node.jobs, node.ids, node.tags, providers, changes))
    node.provide(L3Networks, registry)
    node.extensions.provide(HostFilter, ReachesNetworks(registry), name="l3")
    node.extensions.provide(L2AttachmentChanged, changes, name="l3")
    node.extensions.provide(NetworkChanged, bridges, name="l3")
    node.background.append(providers)
    return addresses, bridges


MANIFEST = Manifest(
    package="cairn.services.l3",
    doc="Subnets, their addresses, and the providers that serve them.",
    build=build,
    requires=("host", "l2"),
)
