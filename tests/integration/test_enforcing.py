"""What cannot be reached is removed by force, and collected if it ever returns."""

from __future__ import annotations

import pytest

from cairn.plugins.local_storage.model import LocalStorageHost
from cairn.services.host.model import HostClaim, HostDebt
from cairn.services.l2.model import L2NetworkClusterRef
from cairn.services.primary_storage.model import ImageCache, PrimaryStorage, PrimaryStorageClusterRef
from cairn.services.vm.model import VmInstance
from cairn.services.volume.model import Volume
from cairn.simulator.dials import Dial
from cairn.testing.cloud import Cloud, Json, Refused, address
from cairn.testing.mortal import ORIGIN

LOST = "sim-0001"


async def lose(cloud: Cloud) -> list[Json]:
    """A site with two VMs on the first host, one of them off, and that host lost."""
    site = await cloud.make_site()
    vms = [await cloud.create_vm(name, host_uuid=site["host-1"]) for name in ("on", "off")]
    await cloud.call("StopVmInstance", uuid=vms[1]["uuid"])
    cloud.transport.dead.add(f"{ORIGIN}/hosts/{LOST}")
    await cloud.quiet(300)
    return vms


async def add_again(cloud: Cloud) -> None:
    cloud.transport.dead.clear()
    await cloud.call(
        "AddSimulatorHost",
        name="again",
        management_ip=address(9),
        cluster_uuid=cloud.site["cluster"],
        url=f"{ORIGIN}/hosts/{LOST}",
    )


def debts(cloud: Cloud) -> list[tuple[str, str]]:
    return sorted(cloud.read_now(lambda tx: [(row.kind, row.what) for row in tx.find(HostDebt)]))


async def test_vms_of_a_lost_host_are_removed_by_force_and_taken_off_it_when_it_returns() -> None:
    async with Cloud.open(hosts=2) as cloud:
        on, off = await lose(cloud)
        with pytest.raises(Refused) as caught:
            await cloud.call("DestroyVmInstance", uuid=on["uuid"])
        assert caught.value.code == "host.disconnected"
        await cloud.call("DestroyVmInstance", uuid=off["uuid"])  # it is off: there is hardly anything of it
        await cloud.call("DestroyVmInstance", uuid=on["uuid"], delete_mode="Enforcing")
        with pytest.raises(Refused):
            await cloud.call("ExpungeVmInstance", uuid=on["uuid"])
        await cloud.call("ExpungeVmInstance", uuid=on["uuid"], delete_mode="Enforcing")
        (path,) = (path for path in cloud.world.hosts[LOST].volumes if str(on["rootVolumeUuid"]) in path)
        assert debts(cloud) == sorted([("file", path), ("vm", str(on["uuid"])), ("vm", str(off["uuid"]))])
        assert str(on["uuid"]) in cloud.world.hosts[LOST].vms

        cloud.transport.dead.clear()
        await cloud.quiet(2000)

        host = cloud.world.hosts[LOST]
        assert (host.vms, path in host.volumes, host.dhcp, debts(cloud)) == ({}, False, {}, [])
        assert cloud.read_now(lambda tx: tx.count(HostClaim)) == 0


async def test_a_lost_host_goes_with_all_that_is_on_it_and_its_machine_is_cleaned_if_it_is_added_again() -> None:
    async with Cloud.open(hosts=2) as cloud:
        await lose(cloud)
        with pytest.raises(Refused) as caught:
            await cloud.call("DeleteHost", uuid=cloud.site["host-1"])
        assert caught.value.code == "host.in-use"

        await cloud.call("DeleteHost", uuid=cloud.site["host-1"], delete_mode="Enforcing")

        left = cloud.read_now(lambda tx: [tx.count(kind) for kind in (VmInstance, Volume, HostClaim)])
        assert left == [0, 0, 0]
        owed = await cloud.query("HostDebt")
        assert {(one["hostUuid"], one["hostName"]) for one in owed} == {(cloud.site["host-1"], LOST)}
        assert len(cloud.world.hosts[LOST].volumes) == 2

        await add_again(cloud)

        host = cloud.world.hosts[LOST]
        assert (host.vms, host.volumes, host.dhcp, host.metadata, debts(cloud)) == ({}, {}, {}, {}, [])


async def test_a_host_that_answers_goes_by_force_with_its_vms_and_owes_nothing() -> None:
    async with Cloud.open(hosts=2) as cloud:
        site = await cloud.make_site()
        await cloud.create_vm("web", host_uuid=site["host-1"])
        await cloud.call("DeleteHost", uuid=site["host-1"], delete_mode="Enforcing")
        host = cloud.world.hosts[LOST]
        assert (host.vms, host.volumes, host.host, debts(cloud)) == ({}, {}, None, [])


async def test_a_debt_can_be_forgotten_and_is_for_administrators_only() -> None:
    async with Cloud.open(hosts=2) as cloud:
        await lose(cloud)
        await cloud.call("DeleteHost", uuid=cloud.site["host-1"], delete_mode="Enforcing")
        for debt in await cloud.query("HostDebt"):
            await cloud.call("DeleteHostDebt", uuid=debt["uuid"])
        await add_again(cloud)
        assert len(cloud.world.hosts[LOST].volumes) == 2
        await cloud.create_account("alice", "a password")
        await cloud.log_in("alice", "a password")
        with pytest.raises(Refused):
            await cloud.query("HostDebt")


async def test_a_debt_of_a_connected_host_is_collected_without_a_reconnect_and_after_a_restart_of_the_node() -> None:
    async with Cloud.open(hosts=1) as cloud:
        site = await cloud.make_site()
        vm = await cloud.create_vm("web")
        cloud.transport.dead.add(f"{ORIGIN}/hosts/{LOST}")
        await cloud.call("DestroyVmInstance", uuid=vm["uuid"], delete_mode="Enforcing")
        assert debts(cloud) == [("vm", str(vm["uuid"]))]
        cloud.transport.dead.clear()
        await cloud.revive()
        await cloud.quiet(130)
        assert (cloud.world.hosts[LOST].vms, debts(cloud)) == ({}, [])
        (host,) = await cloud.query("Host", f"uuid={site['host-1']}")
        assert host["status"] == "Connected"


async def test_a_cluster_goes_by_force_with_a_lost_host() -> None:
    async with Cloud.open(hosts=2) as cloud:
        await lose(cloud)
        await cloud.call("DeleteCluster", uuid=cloud.site["cluster"], delete_mode="Enforcing")
        assert await cloud.query("Cluster") == []
        assert cloud.read_now(lambda tx: tx.count(VmInstance)) == 0


async def test_a_detachment_that_is_undone_leaves_the_attachment_that_there_was() -> None:
    async with Cloud.open(hosts=1) as cloud:
        site = await cloud.make_site()
        await cloud.create_vm("web")
        before = cloud.read_now(lambda tx: tx.find(L2NetworkClusterRef))
        with pytest.raises(Refused):
            await cloud.call("DetachL2NetworkFromCluster", l2_network_uuid=site["l2"], cluster_uuid=site["cluster"])
        assert cloud.read_now(lambda tx: tx.find(L2NetworkClusterRef)) == before


async def test_a_primary_storage_goes_by_force_with_its_vms_and_leaves_debts_on_the_lost_host() -> None:
    async with Cloud.open(hosts=2) as cloud:
        await lose(cloud)
        other = await cloud.create_vm("other", host_uuid=cloud.site["host-2"])
        uuid = cloud.site["storage"]
        with pytest.raises(Refused) as caught:
            await cloud.call("DeletePrimaryStorage", uuid=uuid)
        assert (caught.value.code, "deleteMode=Enforcing" in caught.value.detail) == ("primary-storage.in-use", True)

        await cloud.call("DeletePrimaryStorage", uuid=uuid, delete_mode="Enforcing")

        kinds = (PrimaryStorage, PrimaryStorageClusterRef, VmInstance, Volume, HostClaim, ImageCache, LocalStorageHost)
        assert cloud.read_now(lambda tx: [tx.count(kind) for kind in kinds]) == [0] * len(kinds)
        there, lost = cloud.world.hosts["sim-0002"], cloud.world.hosts[LOST]
        assert (there.vms, there.volumes, there.images) == ({}, {}, {})
        assert str(other["uuid"]) not in [what for _, what in debts(cloud)]
        files = {what for kind, what in debts(cloud) if kind == "file"}
        assert files == {*lost.volumes, *lost.images}

        cloud.transport.dead.clear()
        await cloud.quiet(2000)

        assert (lost.vms, lost.volumes, lost.images, debts(cloud)) == ({}, {}, {}, [])


async def test_a_storage_whose_disk_is_broken_goes_by_force_and_is_tried_again() -> None:
    async with Cloud.open(hosts=1) as cloud:
        await cloud.make_site()
        await cloud.create_vm("web")
        cloud.agents.dials.turn(Dial(command="storage.delete-file", error_rate=1.0, error_code="agent.bug"))

        await cloud.call("DeletePrimaryStorage", uuid=cloud.site["storage"], delete_mode="Enforcing")

        host = cloud.world.hosts[LOST]
        assert {what for _, what in debts(cloud)} == {*host.volumes, *host.images}
        assert len(debts(cloud)) == 2
        cloud.agents.dials.clear()
        await cloud.quiet(130)
        assert (host.volumes, host.images, debts(cloud)) == ({}, {}, [])


async def test_a_storage_that_comes_back_at_the_same_place_keeps_what_is_new() -> None:
    async with Cloud.open(hosts=1) as cloud:
        site = await cloud.make_site()
        await cloud.create_vm("old")
        cloud.agents.dials.turn(Dial(command="storage.delete-file", error_rate=1.0, error_code="agent.bug"))
        await cloud.call("DeletePrimaryStorage", uuid=site["storage"], delete_mode="Enforcing")
        again = await cloud.call(
            "AddLocalPrimaryStorage", name="again", zone_uuid=site["zone"], url="/var/lib/cairn-storage"
        )
        await cloud.call(
            "AttachPrimaryStorageToCluster", cluster_uuid=site["cluster"], primary_storage_uuid=again["uuid"]
        )
        await cloud.create_vm("new")
        cloud.agents.dials.clear()
        await cloud.quiet(130)
        host = cloud.world.hosts[LOST]
        (disk,) = host.volumes.values()
        assert (list(host.images), debts(cloud)) == ([disk.backing_path], [])


async def test_a_deletion_that_does_not_come_forward_leaves_the_storage_as_it_was() -> None:
    async with Cloud.open(hosts=1) as cloud:
        await cloud.make_site()
        await cloud.create_vm("web")
        cloud.agents.dials.turn(Dial(command="vm.destroy", error_rate=1.0, error_code="agent.busy"))
        with pytest.raises(Refused) as caught:
            await cloud.call("DeletePrimaryStorage", uuid=cloud.site["storage"], delete_mode="Enforcing")
        assert caught.value.code == "cascade.not-deleted"
        (row,) = await cloud.query("PrimaryStorage")
        assert row["state"] == "Enabled"
        assert len(cloud.world.hosts[LOST].images) == 1


async def test_a_lost_backup_storage_goes_by_force_and_its_machine_is_cleaned_if_it_is_added_again() -> None:
    async with Cloud.open(hosts=1) as cloud:
        site = await cloud.make_site()
        cloud.transport.dead.add(f"{ORIGIN}/hosts/backup")
        await cloud.quiet(300)
        with pytest.raises(Refused) as caught:
            await cloud.call("DeleteBackupStorage", uuid=site["backup"])
        assert (caught.value.code, "deleteMode=Enforcing" in caught.value.detail) == ("backup-storage.in-use", True)

        await cloud.call("DeleteBackupStorage", uuid=site["backup"], delete_mode="Enforcing")

        machine = cloud.world.hosts["backup"]
        (debt,) = await cloud.query("BackupStorageDebt")
        assert [debt["path"]] == list(machine.images)
        assert (await cloud.query("BackupStorage"), await cloud.query("ImageBackupStorageRef")) == ([], [])
        cloud.transport.dead.clear()
        await cloud.call("AddSimulatorBackupStorage", name="again", url=f"{ORIGIN}/hosts/backup")
        await cloud.quiet()
        assert (machine.images, await cloud.query("BackupStorageDebt")) == ({}, [])


async def test_a_zone_goes_by_force_with_its_storage_and_a_lost_host() -> None:
    async with Cloud.open(hosts=2) as cloud:
        await lose(cloud)
        await cloud.call("DeleteZone", uuid=cloud.site["zone"], delete_mode="Enforcing")
        kinds = (PrimaryStorage, VmInstance, Volume, ImageCache)
        assert cloud.read_now(lambda tx: [tx.count(kind) for kind in kinds]) == [0] * len(kinds)
