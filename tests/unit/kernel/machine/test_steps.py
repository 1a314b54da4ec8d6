from __future__ import annotations

import pytest
from tests.unit.services.image_site import ZONE, AddPaper, Site, trouble

from cairn.agents.protocol.machine import machine_identity
from cairn.kernel.api import DeleteMode
from cairn.kernel.deploy.installer import Identified
from cairn.kernel.machine.model import MachineStatus
from cairn.kernel.tag import UserTag
from cairn.services.backup_storage.messages import (
    AttachBackupStorageToZone,
    DeleteBackupStorage,
    ReconnectBackupStorage,
)
from cairn.services.backup_storage.model import BackupStorage, BackupStorageZoneRef


async def test_deleting_takes_the_agent_the_rows_and_the_tags_away(site: Site) -> None:
    storage = await site.add_storage()
    await site.call(AttachBackupStorageToZone(zone_uuid=ZONE, backup_storage_uuid=storage))

    await site.call(DeleteBackupStorage(uuid=storage))

    assert (site.driver.taken_off, site.driver.forgotten) == ([storage], [storage])
    for kind in (BackupStorage, BackupStorageZoneRef, UserTag):
        assert await site.rows(kind) == []


async def test_with_images_on_it_it_stays_and_their_number_is_named(site: Site) -> None:
    storage = await site.add_storage("shelf")
    await site.add_image(storage)
    await site.add_image(storage)

    error = await site.refused(DeleteBackupStorage(uuid=storage), "backup-storage.in-use")

    assert "2 images are on it" in error.message
    assert (await site.storage(storage)).state.value == "Enabled"
    assert site.driver.taken_off == []


async def test_a_server_that_is_out_of_reach_is_not_forgotten_without_enforcing(site: Site) -> None:
    storage = await site.add_storage("shelf")
    site.driver.refuse = trouble()

    error = await site.refused(DeleteBackupStorage(uuid=storage), "backup-storage.not-cleaned")

    assert error.cause is not None
    assert error.cause.code == "ssh.unreachable"
    row = await site.storage(storage)
    assert (row.state.value, row.status) == ("Enabled", MachineStatus.CONNECTED)


async def test_one_whose_plugin_is_left_out_can_be_forgotten(site: Site) -> None:
    storage = await site.add_storage()
    await site.context.store.write(lambda tx: tx.update(BackupStorage, storage, type="Gone"))

    await site.refused(DeleteBackupStorage(uuid=storage), "backup-storage.not-cleaned")
    await site.call(DeleteBackupStorage(uuid=storage, delete_mode=DeleteMode.ENFORCING))

    assert await site.rows(BackupStorage) == []


async def test_reconnecting_puts_no_agent_where_the_right_one_answers_unless_told_to(site: Site) -> None:
    storage = await site.add_storage()
    await site.call(ReconnectBackupStorage(uuid=storage))
    once = list(site.driver.deployed)
    await site.call(ReconnectBackupStorage(uuid=storage, redeploy=True))

    assert once == [storage], "when it was added"
    assert site.driver.deployed == [storage, storage]


async def test_where_no_agent_answers_one_is_put_and_a_failure_tells_both(site: Site) -> None:
    storage = await site.add_storage()
    site.kill()
    site.driver.refuse = trouble("ssh.login-failed")

    error = await site.refused(ReconnectBackupStorage(uuid=storage), "ssh.login-failed")

    assert error.cause is not None
    assert error.cause.code == "agent.unreachable"
    assert (await site.storage(storage)).status is MachineStatus.DISCONNECTED


async def test_an_old_agent_that_cannot_be_replaced_is_used_with_a_warning(site: Site) -> None:
    storage = await site.add_storage()
    site.agents.version = "0.0.1"
    site.driver.refuse = trouble("ssh.login-failed")

    await site.call(ReconnectBackupStorage(uuid=storage))

    row = await site.storage(storage)
    assert row.status is MachineStatus.CONNECTED
    assert "It could not be replaced: No SSH server" in (row.agent_warning or "")
    assert await site.warnings() == [row.agent_warning]


async def test_a_second_row_for_a_machine_is_refused_before_an_agent_is_put_there(site: Site) -> None:
    first = await site.add_storage("first")
    sent = len(site.transport.requests)
    again = AddPaper(resource_uuid="f" * 32, name="second", url="/srv/other")
    site.driver.hosts["f" * 32] = "backup"

    error = await site.refused(again, "backup-storage.machine-taken")

    assert first in error.message
    assert [verb for verb, _ in site.transport.requests[sent:]] == ["GET"]
    assert site.driver.deployed == [first]
    assert [row.uuid for row in await site.rows(BackupStorage)] == [first]


async def test_another_machine_at_the_address_gets_no_agent(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = await site.add_storage()
    site.kill()

    async def identify(uuid: str) -> Identified:
        return Identified(identity=machine_identity("another", ""))

    monkeypatch.setattr(site.driver, "identify", identify)
    error = await site.refused(ReconnectBackupStorage(uuid=storage), "backup-storage.machine-changed")

    assert error.cause is not None
    assert site.driver.deployed == [storage], "when it was added"
