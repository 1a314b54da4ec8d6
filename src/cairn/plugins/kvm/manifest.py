"""Hosts whose VMs run under libvirt and QEMU."""

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.plugins.kvm.driver import TYPE, KvmHypervisor
from cairn.plugins.kvm.service import KvmService


def build(node: NodeContext) -> None:
    node.extensions.add(KvmHypervisor(node.store, node.installer, node.config), name=TYPE)
    node.bus.serve(KvmService(node.bus, node.store))


MANIFEST = Manifest(package="cairn.plugins.kvm", build=build, requires=("host",))
