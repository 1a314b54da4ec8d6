"""The KVM plugin, put together."""

from __future__ import annotations

from pathlib import Path

from cairn.kernel.plugin.manifest import Manifest, Parts
from cairn.plugins.kvm.driver import AGENT_PORT, TYPE, KvmHypervisor
from cairn.plugins.kvm.messages import AddKVMHost, UpdateKVMHost
from cairn.plugins.kvm.model import KvmHost
from cairn.plugins.kvm.service import ADD, KvmService
from cairn.plugins.kvm.steps import RecordKvm
from cairn.services.host.extensions import HostRemoval, Hypervisor


def build(parts: Parts) -> None:
    """Make the plugin's objects."""
    service = KvmService(parts.bus, parts.store, parts.lazy_flows(), parts.tags, parts.installer)
    parts.extensions.provide(Hypervisor, KvmHypervisor(parts.store, parts.installer, parts.config), name=TYPE)
    parts.extensions.provide(HostRemoval, service, name="kvm")
    parts.steps.append(RecordKvm(parts.installer))


MANIFEST = Manifest(
    name="kvm",
    doc="Hosts whose VMs run under libvirt and QEMU.",
    build=build,
    requires=("host",),
    records=(KvmHost,),
    api=(AddKVMHost, UpdateKVMHost),
    settings=(AGENT_PORT,),
    workflows=(ADD,),
    workflow_file=Path(__file__).parent / "workflows.toml",
    migrations=Path(__file__).parent / "migrations" / "versions",
)
