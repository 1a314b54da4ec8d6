"""Subnets, their addresses, and the providers that serve them."""

from collections.abc import Sequence

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.services.l2.provided import L2Networks
from cairn.services.l3.addresses import Addresses
from cairn.services.l3.networks import L3Registry, NetworkChanges
from cairn.services.l3.placement import ReachesNetworks
from cairn.services.l3.provided import L3Networks
from cairn.services.l3.providers import Providers
from cairn.services.l3.ranges import RangeService
from cairn.services.l3.service import L3Service
from cairn.services.l3.steps.realize import Bridges


def build(node: NodeContext) -> Sequence[object]:
    addresses = Addresses(node.ids)
    l2 = node.need(L2Networks)
    registry = L3Registry(addresses, l2)
    providers = Providers(node.store, node.extensions)
    changes = NetworkChanges(node.extensions)
    bridges = Bridges(node.store, node.clock, registry)
    node.bus.serve(L3Service(node.jobs, node.tags, providers, changes))
    node.bus.serve(RangeService(node.store, node.jobs, node.ids, node.tags, providers, changes))
    node.provide(L3Networks, registry)
    node.extensions.add(ReachesNetworks(registry, l2), name="l3")
    node.extensions.add(changes, name="l3")
    node.extensions.add(bridges, name="l3")
    node.background.append(providers)
    return addresses, bridges


MANIFEST = Manifest(package="cairn.services.l3", build=build, requires=("host", "l2"))
