"""The flat network, put together."""

from __future__ import annotations

from pathlib import Path

from cairn.kernel.plugin.manifest import Manifest, Parts
from cairn.plugins.flat_network import config
from cairn.plugins.flat_network.model import FlatDhcpServer
from cairn.plugins.flat_network.provider import TYPE, FlatProvider
from cairn.services.host.extensions import HostAgents, HostConnected
from cairn.services.l3.extensions import L3Networks, NetworkChanged, NetworkServices
from cairn.services.vm.extensions import VmNetworkService


def build(parts: Parts) -> None:
    """Make the provider."""
    provider = FlatProvider(
        store=parts.store,
        bus=parts.bus,
        clock=parts.clock,
        agents=lambda: parts.extensions.named(HostAgents, "host"),
        networks=lambda: parts.extensions.named(L3Networks, "l3"),
        automatic=lambda: parts.config.get(config.AUTO_ATTACH),
    )
    parts.extensions.provide(NetworkServices, provider, name=TYPE)
    parts.extensions.provide(NetworkChanged, provider, name=TYPE)
    parts.extensions.provide(VmNetworkService, provider, name=TYPE)
    parts.extensions.provide(HostConnected, provider, name=TYPE)


MANIFEST = Manifest(
    name="flat_network",
    doc="DHCP, DNS and metadata for VMs, served on each VM's own host.",
    build=build,
    requires=("l3", "host", "vm"),
    records=(FlatDhcpServer,),
    settings=config.ALL,
    migrations=Path(__file__).parent / "migrations" / "versions",
)
