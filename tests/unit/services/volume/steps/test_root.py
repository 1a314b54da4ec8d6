from __future__ import annotations

from typing import cast

import pytest

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.ids import RandomIds
from cairn.kernel.store.store import Tx
from cairn.plugins.local_storage.driver import LocalStorageDriver
from cairn.plugins.local_storage.model import LocalStorageHost
from cairn.services.host.extensions import Candidate
from cairn.services.host.model import HostDebt
from cairn.services.ids import ClusterId, HostId, ZoneId
from cairn.services.primary_storage.extensions import CachedImage, VolumeSpec
from cairn.services.volume.model import Volume
from cairn.services.volume.steps.root import (
    CreateVolume,
    CreateVolumeInput,
    DeleteVolume,
    DeleteVolumeInput,
    EraseVolume,
    LoadRoot,
    LoadRootInput,
    LoadRootOutput,
)
from cairn.testing.cloud import Cloud
from cairn.testing.mortal import ORIGIN


async def load(cloud: Cloud, vm: str) -> LoadRootOutput:
    step = cast("LoadRoot", cloud.node.context.flows.book.step("volume.load-root"))
    return await cloud.node.context.store.read(lambda tx: step.do(tx, LoadRootInput(uuid=vm)))


async def test_the_root_volume_is_found_by_its_vm(cloud: Cloud) -> None:
    found = await load(cloud, cloud.site["vm"])
    (row,) = await cloud.query("Volume")
    volume = found.root_volume
    assert (volume.uuid, volume.size_bytes, volume.install_path) == (row["uuid"], row["size"], row["installPath"])
    assert (row["name"], row["type"], row["state"], row["status"]) == ("ROOT-for-web", "Root", "Enabled", "Ready")
    assert found.root_storage.uuid == volume.primary_storage_uuid == row["primaryStorageUuid"]


async def test_a_vm_without_one_is_told_so(cloud: Cloud) -> None:
    with pytest.raises(CairnError) as caught:
        await load(cloud, RandomIds(seed=7).new())
    assert caught.value.code == "volume.not-found"


async def test_a_volume_that_is_erased_twice_gives_its_space_back_once(cloud: Cloud) -> None:
    found = await load(cloud, cloud.site["vm"])
    step = cast("EraseVolume", cloud.node.context.flows.book.step("volume.erase"))
    given = DeleteVolumeInput(root_volume=found.root_volume, root_storage=found.root_storage)
    before = cloud.read_now(free)

    def fn(tx: Tx) -> int:
        step.do(tx, given)
        return tx.count(Volume)

    assert [await cloud.node.context.store.write(fn) for _ in range(2)] == [0, 0]
    assert cloud.read_now(free) - before == found.root_volume.size_bytes


def free(tx: Tx) -> int:
    (share,) = tx.find(LocalStorageHost)
    return share.available_capacity


def lost(cloud: Cloud) -> None:
    cloud.transport.dead.add(f"{ORIGIN}/hosts/sim-0001")


def owed(cloud: Cloud) -> list[tuple[str, str]]:
    return cloud.read_now(lambda tx: [(row.kind, row.what) for row in tx.find(HostDebt)])


async def test_an_undo_on_a_host_that_is_lost_leaves_a_debt_and_ends(cloud: Cloud) -> None:
    found = await load(cloud, cloud.site["vm"])
    step = cast("CreateVolume", cloud.node.context.flows.book.step("volume.create"))
    given = CreateVolumeInput(
        root_volume=found.root_volume,
        root_storage=found.root_storage,
        place=Candidate(
            host_uuid=HostId(cloud.site["host-1"]), cluster_uuid=ClusterId("c"), zone_uuid=ZoneId("z"), name="h"
        ),
        cached_image=CachedImage(path="/x", format="qcow2"),
    )
    with pytest.raises(CairnError) as caught:
        await cloud.clock.run(step.undo(given, None))
    assert (caught.value.code, owed(cloud)) == ("agent.busy", []), "the VM runs: that is no question of reach"

    lost(cloud)
    for _ in range(2):
        await cloud.clock.run(step.undo(given, None))
    assert owed(cloud) == [("file", found.root_volume.install_path)]


@pytest.mark.parametrize("enforced", [False, True])
async def test_a_file_that_its_host_does_not_remove_is_owed_by_force_only(cloud: Cloud, enforced: bool) -> None:
    found = await load(cloud, cloud.site["vm"])
    step = cast("DeleteVolume", cloud.node.context.flows.book.step("volume.delete"))
    given = DeleteVolumeInput(root_volume=found.root_volume, root_storage=found.root_storage, enforced=enforced)

    if enforced:
        await cloud.clock.run(step.do(given))
    else:
        with pytest.raises(CairnError) as caught:
            await cloud.clock.run(step.do(given))
        assert caught.value.code == "agent.busy"

    assert owed(cloud) == [("file", found.root_volume.install_path)] * enforced


async def test_what_is_on_no_hosts_disk_can_be_owed_by_nobody(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    found = await load(cloud, cloud.site["vm"])
    step = cast("DeleteVolume", cloud.node.context.flows.book.step("volume.delete"))
    given = DeleteVolumeInput(root_volume=found.root_volume, root_storage=found.root_storage, enforced=True)

    async def refuse(driver: LocalStorageDriver, volume: VolumeSpec, host: HostId | None) -> None:
        raise CairnError("shared.lost", "The storage is lost.", kind=ErrorKind.UNAVAILABLE)

    monkeypatch.setattr(LocalStorageDriver, "delete_volume", refuse)
    monkeypatch.setattr(LocalStorageDriver, "host_of", lambda driver, tx, volume: None)
    with pytest.raises(CairnError) as caught:
        await step.do(given)
    assert caught.value.code == "shared.lost"
