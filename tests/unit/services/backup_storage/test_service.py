from __future__ import annotations

from tests.unit.services.image_site import ZONE, Site

from cairn.kernel.api import StateEvent
from cairn.services.backup_storage.messages import (
    AttachBackupStorageToZone,
    ChangeBackupStorageState,
    DeleteBackupStorage,
    DetachBackupStorageFromZone,
    ReconnectBackupStorage,
    UpdateBackupStorage,
)


async def test_an_update_changes_what_is_given_and_leaves_the_rest(site: Site) -> None:
    storage = await site.add_storage("shelf")

    await site.call(UpdateBackupStorage(uuid=storage, description="in the cellar"))

    shown = await site.shown("BackupStorage", storage)
    assert (shown["name"], shown["description"]) == ("shelf", "in the cellar")
    assert "agentBoot" not in shown


async def test_disabled_and_enabled_again(site: Site) -> None:
    storage = await site.add_storage()
    states = []
    for event in (StateEvent.DISABLE, StateEvent.ENABLE):
        await site.call(ChangeBackupStorageState(uuid=storage, state_event=event))
        states.append((await site.storage(storage)).state.value)

    assert states == ["Disabled", "Enabled"]


async def test_attached_to_a_zone_it_is_shown_and_found_there_until_detached(site: Site) -> None:
    storage = await site.add_storage()
    attach = AttachBackupStorageToZone(zone_uuid=ZONE, backup_storage_uuid=storage)
    await site.call(attach)

    assert (await site.shown("BackupStorage", storage))["attachedZoneUuids"] == [ZONE]
    await site.refused(attach, "backup-storage.attached-already")
    await site.refused(AttachBackupStorageToZone(zone_uuid="f" * 32, backup_storage_uuid=storage), "zone.not-found")

    for _ in range(2):
        await site.call(DetachBackupStorageFromZone(zone_uuid=ZONE, backup_storage_uuid=storage))
    assert (await site.shown("BackupStorage", storage))["attachedZoneUuids"] == []


async def test_a_call_about_one_that_is_not_there_says_so(site: Site) -> None:
    for message in (UpdateBackupStorage(uuid="f" * 32), ReconnectBackupStorage(uuid="f" * 32)):
        await site.refused(message, "backup-storage.not-found")
    await site.call(DeleteBackupStorage(uuid="f" * 32))
