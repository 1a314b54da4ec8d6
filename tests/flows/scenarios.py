"""One scenario for each workflow there is: how to come before it, and the call that runs it.

A workflow without a scenario fails `test_every_workflow_has_a_scenario`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from msgspec import Struct

from cairn.testing.cloud import Cloud, address
from cairn.testing.mortal import ORIGIN

Prepare = Callable[[Cloud], Awaitable[None]]
Fields = Callable[[Cloud], dict[str, object]]


class Scenario(Struct, frozen=True, kw_only=True):
    """How a workflow is run.

    Args:
        api: the call.
        prepare: brings the cloud before the call.
        fields: the call's parameters.
        only_forward: a step that cannot be taken back makes a failure behind it leave things changed; what is changed then
            is put right by the same call made again.
    """

    api: str
    prepare: Prepare
    fields: Fields
    only_forward: bool = False


async def _empty(cloud: Cloud) -> None:
    zone = await cloud.call("CreateZone", name="zone")
    cloud.site["zone"] = str(zone["uuid"])


async def _cluster(cloud: Cloud) -> None:
    await _empty(cloud)
    for kind in ("Simulator", "KVM"):
        made = await cloud.call("CreateCluster", name=kind, zone_uuid=cloud.site["zone"], hypervisor_type=kind)
        cloud.site[f"cluster-{kind}"] = str(made["uuid"])
    cloud.site["cluster"] = cloud.site["cluster-Simulator"]


async def _site(cloud: Cloud) -> None:
    """A site on which a VM has been before, so that image caches and networks are warm."""
    await cloud.make_site()
    for host in (f"host-{number}" for number in range(1, len(cloud.world.hosts))):
        vm = await cloud.create_vm("warm", host_uuid=cloud.site[host])
        await cloud.call("DestroyVmInstance", uuid=vm["uuid"])
        await cloud.call("ExpungeVmInstance", uuid=vm["uuid"])


async def _running(cloud: Cloud) -> None:
    await _site(cloud)
    vm = await cloud.create_vm("web", system_tags=["hostname::web"])
    cloud.site["vm"] = str(vm["uuid"])


async def _paused(cloud: Cloud) -> None:
    await _running(cloud)
    await cloud.call("PauseVmInstance", uuid=cloud.site["vm"])


async def _stopped(cloud: Cloud) -> None:
    await _running(cloud)
    await cloud.call("StopVmInstance", uuid=cloud.site["vm"])


async def _destroyed(cloud: Cloud) -> None:
    await _running(cloud)
    await cloud.call("DestroyVmInstance", uuid=cloud.site["vm"])


async def _stray(cloud: Cloud) -> None:
    """A host has a VM that nobody knows."""
    await _running(cloud)
    host = next(host for host in cloud.world.hosts.values() if cloud.site["vm"] in host.vms)
    stray = "5" * 32
    domain = host.vms[cloud.site["vm"]]
    hardware = msgspec.structs.replace(domain.hardware, uuid=stray)
    host.vms[stray] = msgspec.structs.replace(domain, hardware=hardware, nics=[], disks=[])
    await cloud.quiet(120)
    (row,) = await cloud.query("StrayVm")
    cloud.site["stray"] = str(row["uuid"])


async def _second_l2(cloud: Cloud) -> None:
    await cloud.make_site()
    made = await cloud.call("CreateL2VxlanNetwork", name="second", zone_uuid=cloud.site["zone"], vni=2002)
    cloud.site["second"] = str(made["uuid"])


async def _second_l2_attached(cloud: Cloud) -> None:
    await _second_l2(cloud)
    await cloud.call(
        "AttachL2NetworkToCluster", l2_network_uuid=cloud.site["second"], cluster_uuid=cloud.site["cluster"]
    )


async def _unattached_storage(cloud: Cloud) -> None:
    await cloud.make_site()
    made = await cloud.call(
        "AddLocalPrimaryStorage", name="second", zone_uuid=cloud.site["zone"], url="/var/lib/second-storage"
    )
    cloud.site["second"] = str(made["uuid"])


async def _deleted_image(cloud: Cloud) -> None:
    await cloud.make_site()
    await cloud.call("DeleteImage", uuid=cloud.site["image"])


async def _backup(cloud: Cloud) -> None:
    made = await cloud.call("AddSimulatorBackupStorage", name="backup", url=f"{ORIGIN}/hosts/backup")
    cloud.site["backup"] = str(made["uuid"])


async def _offerings(cloud: Cloud) -> None:
    sizes: dict[str, dict[str, object]] = {
        "instance-offering": await cloud.call("CreateInstanceOffering", name="small", cpu_num=1, memory_size=64 << 20),
        "disk-offering": await cloud.call("CreateDiskOffering", name="disk", disk_size=1 << 30),
    }
    cloud.site.update({kind: str(made["uuid"]) for kind, made in sizes.items()})


async def _nothing(cloud: Cloud) -> None:
    """An empty cloud will do."""


def _uuid(key: str) -> Fields:
    return lambda cloud: {"uuid": cloud.site[key]}


def _host(cloud: Cloud) -> dict[str, object]:
    return {
        "name": "sim-0001",
        "management_ip": address(1),
        "cluster_uuid": cloud.site["cluster-Simulator"],
        "url": f"{ORIGIN}/hosts/sim-0001",
    }


SCENARIOS: dict[str, Scenario] = {
    "vm.create": Scenario(api="CreateVmInstance", prepare=_site, fields=lambda cloud: cloud.vm_fields("web")),
    "vm.create-stopped": Scenario(
        api="CreateVmInstance",
        prepare=_site,
        fields=lambda cloud: cloud.vm_fields("web", strategy="CreateStopped"),
    ),
    "vm.start": Scenario(api="StartVmInstance", prepare=_stopped, fields=_uuid("vm")),
    "vm.stop": Scenario(api="StopVmInstance", prepare=_running, fields=_uuid("vm"), only_forward=True),
    "vm.reboot": Scenario(api="RebootVmInstance", prepare=_running, fields=_uuid("vm")),
    "vm.pause": Scenario(api="PauseVmInstance", prepare=_running, fields=_uuid("vm")),
    "vm.resume": Scenario(api="ResumeVmInstance", prepare=_paused, fields=_uuid("vm")),
    "vm.destroy": Scenario(api="DestroyVmInstance", prepare=_running, fields=_uuid("vm"), only_forward=True),
    "vm.expunge": Scenario(api="ExpungeVmInstance", prepare=_destroyed, fields=_uuid("vm"), only_forward=True),
    "vm.recover": Scenario(api="RecoverVmInstance", prepare=_destroyed, fields=_uuid("vm")),
    "stray-vm.remove": Scenario(api="RemoveStrayVm", prepare=_stray, fields=_uuid("stray"), only_forward=True),
    "simulator.add-host": Scenario(api="AddSimulatorHost", prepare=_cluster, fields=_host),
    "kvm.add-host": Scenario(
        api="AddKVMHost",
        prepare=_cluster,
        fields=lambda cloud: {
            "name": "real",
            "management_ip": address(1),
            "cluster_uuid": cloud.site["cluster-KVM"],
            "password": "secret",
        },
    ),
    "host.reconnect": Scenario(api="ReconnectHost", prepare=_running, fields=_uuid("host-1"), only_forward=True),
    "host.delete": Scenario(api="DeleteHost", prepare=_site, fields=_uuid("host-1"), only_forward=True),
    "primary-storage.attach": Scenario(
        api="AttachPrimaryStorageToCluster",
        prepare=_unattached_storage,
        fields=lambda cloud: {"primary_storage_uuid": cloud.site["second"], "cluster_uuid": cloud.site["cluster"]},
        only_forward=True,
    ),
    "primary-storage.delete": Scenario(
        api="DeletePrimaryStorage",
        prepare=_running,
        fields=lambda cloud: {"uuid": cloud.site["storage"], "delete_mode": "Enforcing"},
        only_forward=True,
    ),
    "l2.attach": Scenario(
        api="AttachL2NetworkToCluster",
        prepare=_second_l2,
        fields=lambda cloud: {"l2_network_uuid": cloud.site["second"], "cluster_uuid": cloud.site["cluster"]},
    ),
    "l2.detach": Scenario(
        api="DetachL2NetworkFromCluster",
        prepare=_second_l2_attached,
        fields=lambda cloud: {"l2_network_uuid": cloud.site["second"], "cluster_uuid": cloud.site["cluster"]},
        only_forward=True,
    ),
    "l2.delete": Scenario(
        api="DeleteL2Network", prepare=_second_l2_attached, fields=_uuid("second"), only_forward=True
    ),
    "cluster.delete": Scenario(api="DeleteCluster", prepare=_cluster, fields=_uuid("cluster-KVM")),
    "zone.delete": Scenario(api="DeleteZone", prepare=_empty, fields=_uuid("zone")),
    "instance-offering.delete": Scenario(
        api="DeleteInstanceOffering", prepare=_offerings, fields=_uuid("instance-offering")
    ),
    "disk-offering.delete": Scenario(api="DeleteDiskOffering", prepare=_offerings, fields=_uuid("disk-offering")),
    "image.add": Scenario(
        api="AddImage",
        prepare=_backup,
        fields=lambda cloud: {
            "name": "tiny",
            "url": "http://images/tiny.qcow2",
            "format": "qcow2",
            "backup_storage_uuids": [cloud.site["backup"]],
        },
    ),
    "image.expunge": Scenario(
        api="ExpungeImage",
        prepare=_deleted_image,
        fields=lambda cloud: {"image_uuid": cloud.site["image"]},
        only_forward=True,
    ),
    "backup-storage.reconnect": Scenario(
        api="ReconnectBackupStorage", prepare=_backup, fields=_uuid("backup"), only_forward=True
    ),
    "backup-storage.delete": Scenario(
        api="DeleteBackupStorage",
        prepare=_site,
        fields=lambda cloud: {"uuid": cloud.site["backup"], "delete_mode": "Enforcing"},
        only_forward=True,
    ),
    "simulator.add-backup-storage": Scenario(
        api="AddSimulatorBackupStorage",
        prepare=_nothing,
        fields=lambda cloud: {"name": "backup", "url": f"{ORIGIN}/hosts/backup"},
    ),
    "backup-server.add": Scenario(
        api="AddSftpBackupStorage",
        prepare=_nothing,
        fields=lambda cloud: {
            "name": "backup",
            "hostname": "backup",
            "username": "root",
            "password": "secret",
            "url": "/var/lib/cairn-backup",
        },
    ),
}
