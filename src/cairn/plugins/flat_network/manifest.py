"""DHCP, DNS and metadata for VMs, served on each VM's own host."""

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.plugins.flat_network.names import LEAST_SECONDS, Neighbours
from cairn.plugins.flat_network.provider import TYPE, FlatProvider
from cairn.services.host.model import Host
from cairn.services.host.provided import HostAgents, HostSyncs
from cairn.services.l3.provided import L3Networks


def build(node: NodeContext) -> None:
    agents = node.need(HostAgents)
    neighbours = Neighbours(node.store, node.clock, node.queues, agents, node.bus, node.duties)
    node.bus.serve(neighbours)
    node.invalidation.on(Host, neighbours.hosts_changed)
    node.loops.every("names of VMs", lambda: LEAST_SECONDS, neighbours.round)
    provider = FlatProvider(
        node.store,
        node.bus,
        node.clock,
        node.queues,
        agents,
        node.need(HostSyncs),
        node.need(L3Networks),
        neighbours,
        node.config,
    )
    node.extensions.add(provider, name=TYPE)
    node.background.append(provider)


MANIFEST = Manifest(package="cairn.plugins.flat_network", build=build, requires=("host", "l3", "vm"))
