"""KVM hosts, with the login of each."""

from __future__ import annotations

from typing import ClassVar

from cairn.kernel.machine.model import SshLogin
from cairn.kernel.store.record import SubType, TableMeta, Visible


class KvmHost(SshLogin, frozen=True, kw_only=True):
    """A Linux machine whose VMs run under libvirt and QEMU."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="kvm_host",
        entity="KVMHost",
        noun="host",
        title="host",
        visible=Visible.ADMIN,
        path="/hosts/kvm",
        extends=SubType(parent="host", column="hypervisor_type", value="KVM"),
    )
