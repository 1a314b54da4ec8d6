"""The KVM plugin, put together."""

from __future__ import annotations

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.plugins.kvm.driver import TYPE, KvmHypervisor
from cairn.plugins.kvm.service import KvmService
from cairn.plugins.kvm.steps import RecordKvm
from cairn.services.host.extensions import HostRemoval, Hypervisor


def build(node: NodeContext) -> None:
    """Make the plugin's objects."""
    service = KvmService(node.bus, node.store, node.lazy_flows(), node.tags, node.installer)
    node.extensions.provide(Hypervisor, KvmHypervisor(node.store, node.installer, node.config), name=TYPE)
    node.extensions.provide(HostRemoval, service, name="kvm")
    node.steps.append(RecordKvm(node.installer))


MANIFEST = Manifest(
    package="cairn.plugins.kvm",
    doc="Hosts whose VMs run under libvirt and QEMU.",
    build=build,
    requires=("host",),
)
