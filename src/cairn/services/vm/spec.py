"""What a VM looks like to networks and hypervisors, made of its rows."""

from __future__ import annotations

from collections.abc import Sequence

from cairn.agents.protocol import vm as agent
from cairn.kernel.store.store import Tx
from cairn.services.primary_storage.extensions import VolumeSpec
from cairn.services.vm.extensions import NicSpec
from cairn.services.vm.messages import VmNetworks
from cairn.services.vm.model import VmInstance, VmNic


def nic_specs(tx: Tx, vm: VmInstance) -> list[NicSpec]:
    """The VM's network cards, in the order of their device numbers."""
    nics = tx.find(VmNic, vm_instance_uuid=vm.uuid, order_by="device_id")
    return [
        NicSpec(
            uuid=nic.uuid,
            mac=nic.mac,
            ip=nic.ip or "",
            netmask=nic.netmask or "",
            gateway=nic.gateway or "",
            l3_network_uuid=nic.l3_network_uuid,
            device_id=nic.device_id,
            internal_name=nic.internal_name,
            is_default=nic.l3_network_uuid == vm.default_l3_network_uuid,
        )
        for nic in nics
    ]


def networks(tx: Tx, vm: VmInstance, host: str) -> VmNetworks:
    """The VM as its networks on `host` see it."""
    return VmNetworks(
        vm_uuid=vm.uuid,
        host_uuid=host,
        hostname=vm.hostname,
        nics=nic_specs(tx, vm),
        user_data=vm.user_data,
        ssh_keys=vm.ssh_keys,
    )


def start_command(
    *,
    vm: str,
    title: str,
    cpu_num: int,
    memory_bytes: int,
    nics: Sequence[NicSpec],
    bridges: dict[str, str],
    mtus: dict[str, int],
    disks: Sequence[VolumeSpec],
) -> agent.StartVm:
    """The agent's command that starts the VM."""
    return agent.StartVm(
        vm=vm,
        title=title,
        cpu_num=cpu_num,
        memory_bytes=memory_bytes,
        disks=[
            agent.Disk(path=disk.install_path, device_id=disk.device_id, format=disk.format, volume=disk.uuid)
            for disk in disks
        ],
        nics=[
            agent.Nic(
                mac=nic.mac,
                bridge=bridges[nic.l3_network_uuid],
                device=nic.internal_name,
                mtu=mtus[nic.l3_network_uuid],
            )
            for nic in nics
        ],
    )
