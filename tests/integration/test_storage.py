"""Storage as a whole cloud has it: what is given out, what is fetched where, and what is left of images."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from cairn.kernel.store.migrations import upgrade
from cairn.plugins import local_storage
from cairn.plugins.local_storage.totals import CAPACITIES
from cairn.services.host.model import Host
from cairn.services.primary_storage.model import ImageCache
from cairn.simulator.dials import Dial
from cairn.testing.cloud import Cloud, Json, Refused
from cairn.testing.mortal import ORIGIN
from cairn.testing.stores import on_mariadb

GIB = 1 << 30


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    """A site on two hosts."""
    async with Cloud.open(hosts=2) as cloud:
        await cloud.make_site()
        yield cloud


async def refused(cloud: Cloud, **fields: object) -> Refused:
    with pytest.raises(Refused) as caught:
        await cloud.create_vm("vm", **fields)
    return caught.value


async def test_disk_that_is_full_of_other_things_takes_no_volume(cloud: Cloud) -> None:
    for number in (1, 2):
        host = cloud.world.hosts[f"sim-000{number}"]
        host.used_bytes = host.machine.disk_bytes - 3 * GIB
    await cloud.quiet(61)

    error = await refused(cloud, root_disk_size=800 * GIB)

    assert error.code == "host.none-fits"
    assert "has 2048 MiB of local storage free, and the disk needs 819200 MiB" in str(error.problem)
    assert (await cloud.create_vm("small", root_disk_size=GIB))["state"] == "Running"


async def test_levels_are_told_as_events_and_shown(cloud: Cloud) -> None:
    host = cloud.world.hosts["sim-0001"]
    used = host.used_bytes
    for share in (0.9, 1.0, 0.1):
        host.used_bytes = max(used, int(host.machine.disk_bytes * share))
        await cloud.quiet(61)
    events = [row["name"] for row in await cloud.query("Event") if str(row["name"]).startswith("primary-storage.")]
    assert sorted(map(str, events)) == [
        "primary-storage.full",
        "primary-storage.has-room",
        "primary-storage.nearly-full",
    ]
    shares = await cloud.query("LocalStorageHostRef")
    assert {row["level"] for row in shares} == {"Ok"}


async def test_image_is_expunged_while_a_host_with_its_cache_is_down_and_the_file_is_removed_later(
    cloud: Cloud,
) -> None:
    for number in (1, 2):
        vm = await cloud.create_vm(f"v{number}", host_uuid=cloud.site[f"host-{number}"])
        await cloud.call("DestroyVmInstance", uuid=vm["uuid"])
        await cloud.call("ExpungeVmInstance", uuid=vm["uuid"])
    cloud.agents.dials.turn(Dial(host="sim-0001", dead=True))
    await cloud.quiet(300)
    await cloud.log_in()
    await cloud.call("DeleteImage", uuid=cloud.site["image"])

    await cloud.call("ExpungeImage", image_uuid=cloud.site["image"])
    await cloud.quiet()

    assert await cloud.query("Image") == []
    assert cloud.world.hosts["backup"].images == cloud.world.hosts["sim-0002"].images == {}
    assert [(row["hostUuid"], row["givenUp"]) for row in await cloud.query("ImageCache")] == [
        (cloud.site["host-1"], True)
    ]
    cloud.agents.dials.clear()
    await cloud.quiet(1200)
    assert cloud.world.hosts["sim-0001"].images == {}
    assert cloud.read_now(lambda tx: tx.count(ImageCache)) == 0


async def test_image_for_other_processors_fits_no_host_and_the_reason_is_told(cloud: Cloud) -> None:
    image = await _image(cloud, "arm", architecture="aarch64")
    error = await refused(cloud, image_uuid=image["uuid"])
    assert error.code == "host.none-fits"
    assert "is of the architecture x86_64, not aarch64" in str(error.problem)
    assert await cloud.query("VmInstance") == []


async def test_backup_storage_serves_only_the_zones_it_is_attached_to(cloud: Cloud) -> None:
    ways = {"zone_uuid": cloud.site["zone"], "backup_storage_uuid": cloud.site["backup"]}
    await cloud.call("DetachBackupStorageFromZone", **ways)
    error = await refused(cloud)
    assert "is in a zone without a usable backup storage that has the image" in str(error.problem)
    await cloud.call("AttachBackupStorageToZone", **ways)
    vm = await cloud.create_vm("vm")
    await cloud.call("StopVmInstance", uuid=vm["uuid"])
    await cloud.call("DetachBackupStorageFromZone", **ways)
    assert (await cloud.call("StartVmInstance", uuid=vm["uuid"]))["state"] == "Running", "it has its disk"


async def test_ratio_of_cpus_counts_for_the_next_vm(cloud: Cloud) -> None:
    await cloud.call("UpdateGlobalConfig", category="host", name="cpu.overProvisioning.ratio", value="1")
    await cloud.quiet()
    assert {row.total_cpu_capacity for row in cloud.read_now(lambda tx: tx.find(Host))} == {64}
    assert (await refused(cloud, cpu_num=65)).code == "host.none-fits"


def caches(cloud: Cloud) -> list[tuple[str, bool]]:
    """The hosts with a cached image, and whether it is given up."""
    rows = cloud.read_now(lambda tx: tx.find(ImageCache))
    return sorted((str(row.host_uuid), row.given_up) for row in rows)


async def expunge_vm(cloud: Cloud, vm: Json) -> None:
    await cloud.call("DestroyVmInstance", uuid=vm["uuid"])
    await cloud.call("ExpungeVmInstance", uuid=vm["uuid"])


async def expunge_image(cloud: Cloud) -> None:
    await cloud.call("DeleteImage", uuid=cloud.site["image"])
    await cloud.call("ExpungeImage", image_uuid=cloud.site["image"])
    await cloud.quiet()


async def test_cache_of_an_expunged_image_stays_under_its_volumes_and_goes_with_the_last(cloud: Cloud) -> None:
    first, second = [await cloud.create_vm(name, host_uuid=cloud.site["host-1"]) for name in ("a", "b")]
    await expunge_vm(cloud, await cloud.create_vm("c", host_uuid=cloud.site["host-2"]))
    one, two = (cloud.world.hosts[f"sim-000{number}"] for number in (1, 2))

    await expunge_image(cloud)
    assert (len(one.images), two.images, caches(cloud)) == (1, {}, [(cloud.site["host-1"], True)])
    await expunge_vm(cloud, first)
    await cloud.quiet(7200)
    assert len(one.images) == 1, "the other VM's disk is based on it"
    await cloud.call("StopVmInstance", uuid=second["uuid"])
    await cloud.call("StartVmInstance", uuid=second["uuid"])
    await expunge_vm(cloud, second)
    await cloud.quiet()
    assert (one.images, caches(cloud)) == ({}, [])


async def test_cache_that_nobody_needs_any_more_is_found_after_a_restart(cloud: Cloud) -> None:
    vm = await cloud.create_vm("a", host_uuid=cloud.site["host-1"])
    await expunge_image(cloud)
    cloud.agents.dials.turn(Dial(command="storage.delete-file", error_rate=1.0, error_code="agent.busy"))
    await cloud.call("DestroyVmInstance", uuid=vm["uuid"])
    await cloud.call("ExpungeVmInstance", uuid=vm["uuid"], delete_mode="Enforcing")
    await cloud.quiet()
    assert len(cloud.world.hosts["sim-0001"].images) == 1
    cloud.agents.dials.clear()

    await cloud.revive()
    await cloud.quiet(7200)  # the volume's file is a debt, and is collected before

    host = cloud.world.hosts["sim-0001"]
    assert (host.images, host.volumes, caches(cloud)) == ({}, {}, [])


async def test_cache_of_an_image_that_goes_while_a_vm_is_made_of_it_goes_with_that_vm(cloud: Cloud) -> None:
    await expunge_vm(cloud, await cloud.create_vm("warm", host_uuid=cloud.site["host-1"]))
    cloud.agents.dials.turn(Dial(command="storage.create-volume", delay_seconds=10.0))
    fields = cloud.vm_fields("a", host_uuid=cloud.site["host-1"])
    status, job = await cloud.send("CreateVmInstance", **fields)
    assert status == 202
    await expunge_image(cloud)
    await cloud.finish(str(job["uuid"]))
    assert caches(cloud) == [(cloud.site["host-1"], True)]
    (vm,) = await cloud.query("VmInstance")
    await expunge_vm(cloud, vm)
    await cloud.quiet()
    assert (cloud.world.hosts["sim-0001"].images, caches(cloud)) == ({}, [])


async def test_image_with_the_uuid_of_one_that_was_expunged_is_not_made_of_its_cache(cloud: Cloud) -> None:
    vm = await cloud.create_vm("old", host_uuid=cloud.site["host-1"])
    await expunge_image(cloud)
    await _image(cloud, "again", resource_uuid=cloud.site["image"])
    (row,) = await cloud.query("Image")
    assert row["uuid"] == cloud.site["image"]

    error = await refused(cloud, host_uuid=cloud.site["host-1"])
    assert error.code == "primary-storage.cache-left"
    await cloud.quiet()
    host = cloud.world.hosts["sim-0001"]
    (disk,) = host.volumes.values()
    assert disk.backing_path in host.images, "the old VM's disk still has its base"
    await expunge_vm(cloud, vm)
    await cloud.quiet()
    assert (await cloud.create_vm("new", host_uuid=cloud.site["host-1"]))["state"] == "Running"


async def test_image_is_expunged_though_a_backup_storage_cannot_be_reached_which_owes_the_file(cloud: Cloud) -> None:
    cloud.transport.dead.add(f"{ORIGIN}/hosts/backup")
    await cloud.quiet(300)
    await expunge_image(cloud)

    assert await cloud.query("Image") == []
    (debt,) = await cloud.query("BackupStorageDebt")
    (path,) = cloud.world.hosts["backup"].images
    assert (debt["backupStorageUuid"], debt["path"]) == (cloud.site["backup"], path)
    cloud.transport.dead.clear()
    await cloud.quiet(1200)
    assert (cloud.world.hosts["backup"].images, await cloud.query("BackupStorageDebt")) == ({}, [])


async def test_host_that_leaves_takes_its_caches_along(cloud: Cloud) -> None:
    await expunge_vm(cloud, await cloud.create_vm("warm", host_uuid=cloud.site["host-1"]))
    await cloud.call("DeleteHost", uuid=cloud.site["host-1"])
    assert (cloud.world.hosts["sim-0001"].images, await cloud.query("HostDebt")) == ({}, [])


@pytest.mark.skipif(on_mariadb(), reason="there is no database from before on it")
async def test_volumes_from_before_know_what_they_are_based_on_if_their_image_is_there(
    cloud: Cloud, tmp_path: Path
) -> None:
    old = await cloud.create_vm("old")
    await expunge_image(cloud)
    cloud.site["image"] = str((await _image(cloud, "other"))["uuid"])
    new = await cloud.create_vm("new")
    database = tmp_path / "cairn.db"
    database.write_bytes(cloud.store.content())
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("ALTER TABLE local_storage_resource_ref DROP COLUMN image_uuid")
        connection.execute("DROP INDEX ix_local_storage_host_ref_primary_storage_uuid_available_capacity_host_uuid")
        for capacity in CAPACITIES:
            connection.execute(f"ALTER TABLE local_storage_host_ref DROP COLUMN summed_{capacity}")
        connection.execute("CREATE TABLE alembic_version_local_storage (version_num VARCHAR(32) PRIMARY KEY)")
        connection.execute("INSERT INTO alembic_version_local_storage VALUES ('local_storage_0002')")

    upgrade(database, [Path(str(local_storage.__file__)).parent / "migrations" / "versions"])

    with closing(sqlite3.connect(database)) as connection:
        found = dict(connection.execute("SELECT resource_uuid, image_uuid FROM local_storage_resource_ref").fetchall())
    assert found == {old["rootVolumeUuid"]: None, new["rootVolumeUuid"]: cloud.site["image"]}


async def _image(cloud: Cloud, name: str, **fields: object) -> Json:
    return await cloud.call(
        "AddImage",
        name=name,
        url="http://images/other.qcow2",
        format="qcow2",
        backup_storage_uuids=[cloud.site["backup"]],
        **fields,
    )
