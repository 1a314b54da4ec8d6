"""The flat network, put together."""

from __future__ import annotations

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.plugins.flat_network.provider import TYPE, FlatProvider
from cairn.services.host.extensions import HostConnected
from cairn.services.host.provided import HostAgents
from cairn.services.l3.extensions import NetworkChanged, NetworkServices
from cairn.services.l3.provided import L3Networks
from cairn.services.vm.extensions import VmNetworkService


def build(node: NodeContext) -> None:
    """Make the provider."""
    provider = FlatProvider(node.store, node.bus, node.clock, node.need(HostAgents), node.need(L3Networks), node.config)
    node.extensions.provide(NetworkServices, provider, name=TYPE)
    node.extensions.provide(NetworkChanged, provider, name=TYPE)
    node.extensions.provide(VmNetworkService, provider, name=TYPE)
    node.extensions.provide(HostConnected, provider, name=TYPE)


MANIFEST = Manifest(
    package="cairn.plugins.flat_network",
    doc="DHCP, DNS and metadata for VMs, served on each VM's own host.",
    build=build,
    requires=("host", "l3", "vm"),
)
