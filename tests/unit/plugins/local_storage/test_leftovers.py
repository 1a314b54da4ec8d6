from __future__ import annotations

from functools import partial

import pytest
from tests.unit.plugins.local_storage.cache_rig import CacheRig
from tests.unit.services.storage_rig import IMAGE

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.store.store import Tx
from cairn.plugins.local_storage import leftovers
from cairn.plugins.local_storage.model import LocalStorageVolume
from cairn.services.host.provided import FILE_DEBT
from cairn.services.ids import HostId, VolumeId
from cairn.services.primary_storage.model import ImageCache

LOST = CairnError("host.disconnected", "No.", kind=ErrorKind.UNAVAILABLE)
BUSY = CairnError("agent.busy", "It is used.", kind=ErrorKind.CONFLICT)


def forget(volume: str, tx: Tx) -> None:
    tx.delete(LocalStorageVolume, VolumeId(volume * 32))


def removed(rig: CacheRig, host: str, tx: Tx) -> None:
    rig.leftovers.host_removed(tx, HostId(host))


async def test_caches_under_volumes_stay_though_the_image_is_gone_and_the_others_go(rig: CacheRig) -> None:
    await rig.cached("h1", "h2")
    await rig.place("d", "h2")

    await rig.expunge()
    for look in (rig.leftovers.look, rig.leftovers.sweep, rig.leftovers.look):
        await look()

    assert (rig.agents.deleted, await rig.there()) == (["h1"], [("h2", True)])


async def test_a_cache_goes_when_its_last_volume_went(rig: CacheRig) -> None:
    await rig.cached("h1")
    for volume in ("c", "d"):
        await rig.place(volume, "h1")
    await rig.expunge()
    left = []
    for volume in ("c", "d"):
        await rig.node.context.store.write(partial(forget, volume))
        rig.leftovers.look_at((rig.storage, HostId("h1"), IMAGE.uuid))
        await rig.leftovers.look()
        left.append(await rig.there())

    assert left == [[("h1", True)], []]


async def test_a_cache_whose_image_is_there_stays_without_volumes(rig: CacheRig) -> None:
    await rig.cached("h1")
    rig.leftovers.look_at((rig.storage, HostId("h1"), IMAGE.uuid))
    for look in (rig.leftovers.look, rig.leftovers.sweep):
        await look()
    assert await rig.there() == [("h1", False)]


async def test_a_volume_of_which_it_is_not_known_what_it_is_based_on_keeps_all_caches_of_its_disk(
    rig: CacheRig,
) -> None:
    await rig.cached("h1", "h2")
    await rig.place("d", "h1", image=None)
    await rig.expunge()
    await rig.leftovers.sweep()
    assert await rig.there() == [("h1", True)]


async def test_caches_that_nobody_spoke_of_are_found_by_looking_through_all(rig: CacheRig) -> None:
    await rig.cached("h1", "h2")
    await rig.expunge()
    rig.again()
    await rig.node.context.store.write(lambda tx: tx.update_where(ImageCache, {"host_uuid": "h1"}, given_up=False))

    await rig.leftovers.sweep()

    assert await rig.there() == []


async def test_all_caches_are_looked_through_however_many_there_are(
    rig: CacheRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "_BITE", 2)
    hosts = [f"h{number}" for number in range(1, 7)]
    await rig.cached(*hosts)
    await rig.place("d", "h2")
    await rig.expunge()
    rig.again()
    await rig.node.context.store.write(lambda tx: tx.update_where(ImageCache, {"host_uuid": hosts}, given_up=False))

    await rig.leftovers.sweep()

    assert [host for host, _ in await rig.there()] == ["h2"]


async def test_a_host_that_cannot_be_reached_keeps_its_cache_until_it_connects_and_holds_up_no_other(
    rig: CacheRig,
) -> None:
    await rig.share("h1", "h2")
    await rig.cached("h1", "h2")
    rig.agents.refuse = LOST
    await rig.expunge()
    for look in (rig.leftovers.look, rig.leftovers.sweep):
        await look()
    assert await rig.there() == [("h1", True), ("h2", True)]
    rig.agents.refuse = None
    for _ in range(2):
        await rig.leftovers.collect(HostId("h1"))

    assert await rig.there() == [("h2", True)]
    assert (rig.agents.deleted, await rig.booked()) == (["h1"], [0, 10])


async def test_a_host_that_leaves_is_cleaned_and_owes_what_is_left(rig: CacheRig) -> None:
    await rig.cached("h1", "h2")
    assert await rig.leftovers.leave(HostId("h1")) == []
    rig.agents.refuse = LOST
    (left,) = await rig.leftovers.leave(HostId("h2"))
    for host in ("h1", "h2"):
        await rig.node.context.store.write(partial(removed, rig, host))

    assert rig.debts.owed == [("h2", FILE_DEBT, left)]
    assert await rig.there() == []


@pytest.mark.parametrize("error", [LOST, BUSY])
async def test_a_storage_that_leaves_is_cleared_and_its_hosts_owe_what_is_left(
    rig: CacheRig, error: CairnError
) -> None:
    await rig.share("h1", "h2")
    await rig.cached("h1", "h2")
    paths = {row.host_uuid: row.install_path for row in await rig.node.all(ImageCache)}
    rig.agents.refuse = error
    for _ in range(2):
        await rig.leftovers.clear(rig.storage)

    assert sorted(rig.debts.owed) == [(host, FILE_DEBT, paths[HostId(host)]) for host in ("h1", "h2")]
    assert (await rig.there(), await rig.booked()) == ([], [0, 0])
