"""The KVM plugin, put together."""

from __future__ import annotations

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.plugins.kvm.driver import TYPE, KvmHypervisor
from cairn.plugins.kvm.service import KvmService
from cairn.services.host.extensions import Hypervisor


def build(node: NodeContext) -> None:
    """Make the plugin's objects."""
    node.extensions.provide(Hypervisor, KvmHypervisor(node.store, node.installer, node.config), name=TYPE)
    node.bus.serve(KvmService(node.bus, node.store))


MANIFEST = Manifest(
    package="cairn.plugins.kvm",
    doc="Hosts whose VMs run under libvirt and QEMU.",
    build=build,
    requires=("host",),
)
