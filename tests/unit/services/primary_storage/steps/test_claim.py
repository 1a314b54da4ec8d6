from __future__ import annotations

from typing import cast

import pytest
from tests.unit.services.storage_rig import IMAGE, PAPER, StorageRig

from cairn.kernel.error import CairnError, ErrorKind
from cairn.services.host.extensions import Candidate
from cairn.services.ids import ClusterId, HostId, PrimaryStorageId, VolumeId, ZoneId
from cairn.services.primary_storage.extensions import CachedImage, NewVolume, RootStorage
from cairn.services.primary_storage.steps.claim import CacheImage, CacheImageInput, ClaimStorage, ClaimStorageInput


def step(rig: StorageRig) -> ClaimStorage:
    return cast("ClaimStorage", rig.node.context.flows.book.step("primary-storage.claim"))


def wanted(cluster: str, size: int) -> ClaimStorageInput:
    return ClaimStorageInput(
        image=IMAGE,
        root=NewVolume(uuid=VolumeId("disk"), name="ROOT-for-web", size_bytes=size),
        place=place(cluster),
    )


def place(cluster: str) -> Candidate:
    return Candidate(host_uuid=HostId("h1"), cluster_uuid=ClusterId(cluster), zone_uuid=ZoneId("zone"), name="host-1")


async def test_the_storage_with_the_most_space_is_claimed_and_given_back(rig: StorageRig) -> None:
    zone = await rig.zone()
    cluster = await rig.cluster(zone)
    small, large = await rig.storage(zone, "small", free=10), await rig.storage(zone, "large", free=100)
    for storage in (small, large):
        await rig.attach(storage, cluster)
    given = wanted(cluster, 10)

    made = await rig.node.context.store.write(lambda tx: step(rig).do(tx, given))

    assert made.root_storage == RootStorage(uuid=large, type=PAPER, mount_path="/large")
    assert (rig.driver.claims, rig.driver.based_on) == ({"disk": large}, {"disk": IMAGE.uuid})
    for _ in range(2):
        await rig.node.context.store.write(lambda tx: step(rig).undo(tx, given, made))
    assert rig.driver.claims == {}


async def test_a_storage_that_was_just_filled_is_passed_over(rig: StorageRig) -> None:
    zone = await rig.zone()
    cluster = await rig.cluster(zone)
    small, large = await rig.storage(zone, "small", free=10), await rig.storage(zone, "large", free=100)
    for storage in (small, large):
        await rig.attach(storage, cluster)
    rig.driver.free[large] = 0

    made = await rig.node.context.store.write(lambda tx: step(rig).do(tx, wanted(cluster, 10)))

    assert made.root_storage.uuid == small


async def test_without_space_it_is_said_how_much_was_wanted(rig: StorageRig) -> None:
    zone = await rig.zone()
    cluster = await rig.cluster(zone)
    await rig.attach(await rig.storage(zone, free=1), cluster)

    with pytest.raises(CairnError, match="3 MiB") as caught:
        await rig.node.context.store.write(lambda tx: step(rig).do(tx, wanted(cluster, 3 << 20)))

    assert (caught.value.code, caught.value.kind) == ("primary-storage.no-space", ErrorKind.EXHAUSTED)


async def test_the_image_is_cached_by_the_storages_driver(rig: StorageRig) -> None:
    cache = cast("CacheImage", rig.node.context.flows.book.step("primary-storage.cache-image"))
    storage = RootStorage(uuid=PrimaryStorageId("s"), type=PAPER, mount_path="/s")

    made = await cache.do(CacheImageInput(image=IMAGE, root_storage=storage, place=place("cluster")))

    assert made.cached_image == CachedImage(path=f"/s/{IMAGE.uuid}", format="qcow2")
