from __future__ import annotations

import asyncio
from pathlib import PurePosixPath

import pytest
from tests.unit.plugins.local_storage.cache_rig import CacheRig
from tests.unit.services.storage_rig import IMAGE

from cairn.kernel.error import CairnError, ErrorKind
from cairn.services.ids import HostId
from cairn.services.primary_storage.model import ImageCache


async def test_many_callers_at_once_cause_one_download_per_host(rig: CacheRig) -> None:
    found = await asyncio.gather(
        *(rig.caches.get(rig.storage, HostId(host), IMAGE) for host in ("h1", "h1", "h2", "h1"))
    )

    assert sorted(rig.agents.fetched) == ["h1", "h2"]
    assert len({cached.path for cached in found}) == 2
    rows = await rig.node.all(ImageCache)
    assert sorted((str(row.host_uuid), row.size, row.actual_size) for row in rows) == [("h1", 100, 10), ("h2", 100, 10)]


async def test_no_two_caches_ever_have_one_path(rig: CacheRig) -> None:
    paths = []
    for _ in range(2):
        cached = await rig.caches.get(rig.storage, HostId("h1"), IMAGE)
        paths.append(PurePosixPath(cached.path))
        await rig.caches.forget(HostId("h1"), cached.path)

    assert {str(path.parent) for path in paths} == {f"/store/imagecache/template/{IMAGE.uuid}"}
    assert {path.suffix for path in paths} == {".qcow2"}
    assert paths[0] != paths[1]


@pytest.mark.parametrize(("kind", "rows"), [(ErrorKind.INVALID, 0), (ErrorKind.UNAVAILABLE, 1)])
async def test_a_failed_download_leaves_a_row_only_if_the_host_may_have_the_file(
    rig: CacheRig, kind: ErrorKind, rows: int
) -> None:
    rig.agents.refuse = CairnError("agent.download-failed", "No.", kind=kind)
    with pytest.raises(CairnError):
        await rig.cached("h1")

    assert [row.actual_size for row in await rig.node.all(ImageCache)] == [0] * rows
    rig.agents.refuse = None
    await rig.cached("h1")
    assert [row.actual_size for row in await rig.node.all(ImageCache)] == [10]


async def test_a_cache_that_is_forgotten_is_fetched_again(rig: CacheRig) -> None:
    cached = await rig.caches.get(rig.storage, HostId("h1"), IMAGE)
    await rig.cached("h2")

    await rig.caches.forget(HostId("h1"), cached.path)
    await rig.cached("h1", "h2")

    assert rig.agents.fetched == ["h1", "h2", "h1"]


async def test_what_is_written_down_is_not_fetched_again_after_a_restart(rig: CacheRig) -> None:
    first = await rig.caches.get(rig.storage, HostId("h1"), IMAGE)
    rig.again()
    again = await rig.caches.get(rig.storage, HostId("h1"), IMAGE)

    assert (again, rig.agents.fetched) == (first, ["h1"])


async def test_a_cache_is_booked_on_its_disk_while_it_is_there(rig: CacheRig) -> None:
    await rig.share("h1")
    cached = await rig.caches.get(rig.storage, HostId("h1"), IMAGE)
    seen = [await rig.booked()]
    await rig.caches.forget(HostId("h1"), cached.path)
    seen.append(await rig.booked())
    await rig.cached("h1")
    seen.append(await rig.booked())
    for _ in range(2):
        await rig.caches.drop(rig.storage, IMAGE.uuid)
        await rig.leftovers.look()
    seen.append(await rig.booked())

    assert seen == [[10], [0], [10], [0]]


async def test_a_cache_that_is_given_up_is_not_taken_for_that_of_another_image_with_its_uuid(rig: CacheRig) -> None:
    await rig.cached("h1")
    await rig.place("d", "h1")
    await rig.caches.drop(rig.storage, IMAGE.uuid)
    with pytest.raises(CairnError) as caught:
        await rig.cached("h1")

    assert caught.value.code == "primary-storage.cache-left"
    await rig.cached("h2")
    assert (rig.agents.deleted, rig.agents.fetched) == ([], ["h1", "h2"])


async def test_an_image_is_fetched_from_the_storages_zone(rig: CacheRig) -> None:
    zone = await rig.storages.zone("far")
    await rig.caches.get(await rig.storages.storage(zone, "other"), HostId("h1"), IMAGE)
    assert rig.agents.urls == [f"http://{zone}/{IMAGE.uuid}.qcow2"]


async def test_a_storage_that_leaves_is_asked_for_no_cache_from_memory(rig: CacheRig) -> None:
    await rig.cached("h1")
    await rig.caches.clear(rig.storage)
    await rig.cached("h1")
    assert (rig.agents.deleted, rig.agents.fetched) == (["h1"], ["h1", "h1"])


async def test_a_host_that_was_to_leave_and_stays_fetches_its_caches_again(rig: CacheRig) -> None:
    await rig.cached("h1", "h2")
    await rig.leftovers.leave(HostId("h1"))
    await rig.cached("h1", "h2")
    assert rig.agents.fetched == ["h1", "h2", "h1"]
