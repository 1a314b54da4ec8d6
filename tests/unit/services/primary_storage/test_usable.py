from __future__ import annotations

from collections.abc import Callable

from tests.unit.services.storage_rig import StorageRig

from cairn.kernel.api import StateEvent
from cairn.kernel.store.store import Tx
from cairn.services.ids import ClusterId
from cairn.services.primary_storage.messages import ChangePrimaryStorageState, DetachPrimaryStorageFromCluster
from cairn.services.primary_storage.model import PrimaryStorage, PrimaryStorageStatus
from cairn.services.primary_storage.usable import UsableStorage, usable_anywhere


async def test_storage_that_is_attached_is_usable_there_and_nowhere_else(rig: StorageRig) -> None:
    zone = await rig.zone()
    here, there = await rig.cluster(zone), await rig.cluster(zone)
    first, second = await rig.storage(zone, "a"), await rig.storage(zone, "b")
    for storage in (first, second):
        await rig.attach(storage, here)
    usable = UsableStorage()

    async def of(cluster: str, required: str | None = None) -> set[str]:
        return {
            row.uuid
            for row in await rig.node.context.store.write(lambda tx: usable.of(tx, ClusterId(cluster), required))
        }

    assert await of(here) == {first, second}
    assert await of(here, second) == {second}
    assert await of(here, "f" * 32) == await of(there) == await of(there, first) == set()


async def test_each_change_is_seen_at_once(rig: StorageRig) -> None:
    zone = await rig.zone()
    cluster, storage = await rig.cluster(zone), await rig.storage(zone)
    node, usable = rig.node, UsableStorage()

    async def is_usable() -> bool:
        return bool(await node.context.store.write(lambda tx: usable.of(tx, ClusterId(cluster), None)))

    async def status(status: PrimaryStorageStatus) -> None:
        await node.context.store.write(lambda tx: tx.update(PrimaryStorage, storage, status=status))

    seen = [await is_usable()]
    await rig.attach(storage, cluster)
    seen.append(await is_usable())
    for event in (StateEvent.DISABLE, StateEvent.ENABLE):
        await node.call(ChangePrimaryStorageState(uuid=storage, state_event=event))
        seen.append(await is_usable())
    for value in (PrimaryStorageStatus.DISCONNECTED, PrimaryStorageStatus.CONNECTED):
        await status(value)
        seen.append(await is_usable())
    await node.call(DetachPrimaryStorageFromCluster(primary_storage_uuid=storage, cluster_uuid=cluster))
    seen.append(await is_usable())

    assert seen == [False, True, False, True, False, True, False]


async def test_storage_that_is_usable_anywhere(rig: StorageRig) -> None:
    zone = await rig.zone()
    on, off = await rig.storage(zone, "on"), await rig.storage(zone, "off")
    await rig.node.call(ChangePrimaryStorageState(uuid=off, state_event=StateEvent.DISABLE))

    def found(required: str | None) -> Callable[[Tx], set[str]]:
        return lambda tx: {row.uuid for row in usable_anywhere(tx, required)}

    read = rig.node.context.store.read
    assert [await read(found(one)) for one in (None, on, off, "f" * 32)] == [{on}, {on}, set(), set()]
