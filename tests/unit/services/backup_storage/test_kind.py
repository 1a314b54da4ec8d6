from __future__ import annotations

from tests.unit.services.image_site import Site

from cairn.kernel.event import EventRow
from cairn.kernel.machine.machines import Machines
from cairn.services.backup_storage.kind import BackupStorageKind
from cairn.services.backup_storage.messages import DeleteBackupStorage, ReconnectBackupStorage


def kind_of(site: Site) -> BackupStorageKind:
    kind = site.context.need(Machines).of(ReconnectBackupStorage(uuid="")).kind
    assert isinstance(kind, BackupStorageKind)
    return kind


async def test_the_capacity_follows_what_pings_find(site: Site) -> None:
    storage = await site.add_storage()
    before = await site.storage(storage)
    await site.watch()
    await site.clock.advance(61)
    same = await site.storage(storage)
    await site.add_image(storage)
    await site.clock.advance(61)
    after = await site.storage(storage)

    assert same == before
    assert after.total_capacity == before.total_capacity
    assert after.available_capacity == site.host().available_bytes < before.available_capacity


async def test_images_keep_it_and_are_counted(site: Site) -> None:
    storage, other = await site.add_storage("a"), await site.add_storage("b", "sim-0001")
    await site.add_image(storage)

    def reasons(uuid: str) -> object:
        return site.context.store.read(lambda tx: kind_of(site).why_not_remove(tx, uuid))

    assert await reasons(storage) == ["1 image is on it"]  # type: ignore[misc]
    assert await reasons(other) == []  # type: ignore[misc]


async def test_a_lost_one_is_told_of_by_name_and_connected_again_by_a_call(site: Site) -> None:
    storage = await site.add_storage("shelf")
    await site.watch()
    site.kill()
    await site.clock.advance(120)

    told = [row.content for row in await site.rows(EventRow, name="backup-storage.status-changed")]
    lost = next(content for content in told if content["status"] == "Disconnected")
    assert (lost["backupStorage"], lost["name"], lost["before"]) == (storage, "shelf", "Connected")
    assert lost["reason"]
    assert kind_of(site).reconnecting(storage) == ReconnectBackupStorage(uuid=storage)


async def test_one_with_images_is_refused_with_what_to_do(site: Site) -> None:
    storage = await site.add_storage()
    await site.add_image(storage)

    error = await site.refused(DeleteBackupStorage(uuid=storage), "backup-storage.in-use")

    assert BackupStorageKind.remedy in error.message
