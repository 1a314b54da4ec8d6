from __future__ import annotations

from typing import cast

import pytest

from cairn.kernel.error import CairnError
from cairn.kernel.ids import RandomIds
from cairn.kernel.store.store import Tx
from cairn.plugins.local_storage.model import LocalStorageHost
from cairn.services.volume.model import Volume
from cairn.services.volume.steps.root import DeleteVolumeInput, EraseVolume, LoadRoot, LoadRootInput, LoadRootOutput
from cairn.testing.cloud import Cloud


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
