"""DHCP, DNS and metadata for VMs, served on each VM's own host."""

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.plugins.flat_network.provider import TYPE, FlatProvider
from cairn.services.host.provided import HostAgents
from cairn.services.l3.provided import L3Networks


def build(node: NodeContext) -> None:
    provider = FlatProvider(node.store, node.bus, node.clock, node.need(HostAgents), node.need(L3Networks), node.config)
    node.extensions.add(provider, name=TYPE)


MANIFEST = Manifest(package="cairn.plugins.flat_network", build=build, requires=("host", "l3", "vm"))
