"""KVM hosts."""

from __future__ import annotations

from typing import Annotated, ClassVar

from cairn.kernel.store.record import Doc, Hidden, Key, Record, SubType, TableMeta, Text, Visible


class KvmHost(Record, frozen=True, kw_only=True):
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

    uuid: Annotated[str, Key()]
    username: Annotated[str, Doc("who Ansible logs in as")]
    password: Annotated[str | None, Hidden(), Text(1024)] = None
    private_key: Annotated[str | None, Hidden(), Text(None)] = None
    ssh_port: int = 22
