from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace
from tests.unit.services.storage_rig import StorageRig, candidate

from cairn.kernel.api import StateEvent
from cairn.kernel.store.store import Tx
from cairn.services.host.extensions import ANYWHERE, Candidate, HostFilter, HostNeed, Places
from cairn.services.ids import HostId, ImageId, VmId
from cairn.services.primary_storage.messages import ChangePrimaryStorageState

NEED = HostNeed(
    vm_uuid=VmId("v"), cpu_num=1, memory_size=1, disk_bytes=100, image_uuid=ImageId("i"), l3_network_uuids=[]
)


async def refused(rig: StorageRig, need: HostNeed, *candidates: Candidate) -> dict[HostId, str]:
    judge = rig.node.context.extensions.named(HostFilter, "primary_storage")
    return await rig.node.context.store.read(lambda tx: judge.refuse(tx, need, candidates))


async def test_a_host_whose_cluster_has_storage_with_space_is_not_refused(rig: StorageRig) -> None:
    zone = await rig.zone()
    cluster = await rig.cluster(zone)
    for name, free in (("full", 1), ("empty", 1000)):
        await rig.attach(await rig.storage(zone, name, free=free), cluster)

    assert await refused(rig, NEED, candidate(cluster)) == {}


async def test_hosts_without_storage_or_space_are_refused_each_with_its_reason(rig: StorageRig) -> None:
    zone = await rig.zone()
    bare, full = await rig.cluster(zone), await rig.cluster(zone)
    await rig.attach(await rig.storage(zone, free=7), full)

    assert await refused(rig, NEED, candidate(bare, "h1"), candidate(full, "h2")) == {
        "h1": "has no enabled primary storage attached to its cluster",
        "h2": "has 7 bytes free",
    }


async def test_only_the_storage_that_is_asked_for_counts_and_only_if_it_is_enabled(rig: StorageRig) -> None:
    zone = await rig.zone()
    cluster, storage, other = await rig.cluster(zone), await rig.storage(zone, "a"), await rig.storage(zone, "b")
    await rig.attach(storage, cluster)
    reason = {"h1": "has no enabled primary storage attached to its cluster"}

    assert await refused(rig, replace(NEED, primary_storage_uuid=storage), candidate(cluster)) == {}
    assert await refused(rig, replace(NEED, primary_storage_uuid=other), candidate(cluster)) == reason
    await rig.node.call(ChangePrimaryStorageState(uuid=storage, state_event=StateEvent.DISABLE))
    assert await refused(rig, NEED, candidate(cluster)) == reason


async def test_a_vm_with_a_disk_goes_where_its_storage_says_that_the_disk_is(rig: StorageRig) -> None:
    zone = await rig.zone()
    cluster, storage = await rig.cluster(zone), await rig.storage(zone, free=0)
    rig.driver.claims["disk"] = storage
    there = replace(NEED, root_volume_uuid="disk", primary_storage_uuid=storage)

    assert await refused(rig, there, candidate(cluster)) == {}
    assert await refused(rig, replace(there, root_volume_uuid="other"), candidate(cluster)) == {
        "h1": "does not reach other"
    }
    assert await refused(rig, replace(there, primary_storage_uuid=None), candidate(cluster)) == {
        "h1": "cannot be asked for a disk that is gone"
    }


async def test_choice_is_narrowed_to_where_the_storage_is_attached(rig: StorageRig) -> None:
    zone = await rig.zone()
    cluster, storage = await rig.cluster(zone), await rig.storage(zone)
    await rig.cluster(zone)
    await rig.attach(storage, cluster)
    judge = rig.node.context.extensions.named(HostFilter, "primary_storage")

    async def places(need: HostNeed) -> Places:
        return await rig.node.context.store.read(lambda tx: judge.narrow(tx, need))

    assert await places(NEED) == ANYWHERE
    assert await places(replace(NEED, primary_storage_uuid=storage)) == Places(clusters=frozenset({cluster}))
    assert await places(replace(NEED, primary_storage_uuid="gone")) == ANYWHERE


async def test_choice_is_narrowed_to_the_host_whose_disk_the_volume_is_on(
    rig: StorageRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone = await rig.zone()
    cluster, storage = await rig.cluster(zone), await rig.storage(zone)
    await rig.attach(storage, cluster)
    monkeypatch.setattr(rig.driver, "host_of", lambda tx, volume: HostId("home") if volume == "disk" else None)
    judge = rig.node.context.extensions.named(HostFilter, "primary_storage")
    there = replace(NEED, root_volume_uuid="disk", primary_storage_uuid=storage)

    found = await rig.node.context.store.read(lambda tx: judge.narrow(tx, there))

    assert found == Places(hosts=frozenset({HostId("home")}), clusters=frozenset({cluster}))


async def test_each_storage_is_asked_once_for_all_hosts_of_a_cluster(
    rig: StorageRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone = await rig.zone()
    cluster = await rig.cluster(zone)
    for name in ("full", "too"):
        await rig.attach(await rig.storage(zone, name, free=1), cluster)
    asked: list[int] = []
    refuse = rig.driver.refuse

    def noting(
        tx: Tx, storage: str, candidates: Sequence[Candidate], size: int, volume: str | None
    ) -> dict[HostId, str]:
        asked.append(len(candidates))
        return refuse(tx, storage, candidates, size, volume)

    monkeypatch.setattr(rig.driver, "refuse", noting)

    found = await refused(rig, NEED, *(candidate(cluster, f"h{number}") for number in range(50)))

    assert asked == [50, 50]
    assert len(found) == 50


async def test_a_new_vm_is_narrowed_to_the_few_hosts_that_have_room(rig: StorageRig) -> None:
    zone = await rig.zone()
    cluster, storage = await rig.cluster(zone), await rig.storage(zone)
    await rig.attach(storage, cluster)
    judge = rig.node.context.extensions.named(HostFilter, "primary_storage")
    there = replace(NEED, primary_storage_uuid=storage)

    async def narrowed(need: HostNeed) -> Places:
        return await rig.node.context.store.read(lambda tx: judge.narrow(tx, need))

    assert await narrowed(NEED) == ANYWHERE
    rig.driver.few = frozenset({HostId("h1")})
    assert await narrowed(NEED) == Places(hosts=frozenset({HostId("h1")}))
    assert await narrowed(there) == Places(hosts=frozenset({HostId("h1")}), clusters=frozenset({cluster}))
    await rig.node.call(ChangePrimaryStorageState(uuid=storage, state_event=StateEvent.DISABLE))
    assert await narrowed(NEED) == Places(hosts=frozenset())
