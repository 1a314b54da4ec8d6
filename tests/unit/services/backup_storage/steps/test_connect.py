from __future__ import annotations

import pytest
from tests.unit.services.image_site import Site, trouble

from cairn.kernel.error import CairnError
from cairn.kernel.event import EventRow
from cairn.kernel.tag import UserTag
from cairn.services.backup_storage.messages import ReconnectBackupStorage
from cairn.services.backup_storage.model import BackupStorage


async def test_a_new_one_is_connected_with_its_folder_prepared_and_its_capacity(site: Site) -> None:
    storage = await site.add_storage("shelf")

    row = await site.storage(storage)
    host = site.host()
    assert (row.status.value, row.state.value, row.type) == ("Connected", "Enabled", "PaperBackupStorage")
    assert host.storage == ["/var/lib/cairn-backup"]
    assert (row.total_capacity, row.available_capacity) == (host.machine.disk_bytes, host.available_bytes)
    assert row.agent_boot == host.boot
    assert site.driver.deployed == [storage]
    assert [tag.tag for tag in await site.rows(UserTag)] == ["shelf"]


@pytest.mark.parametrize("fault", ["deploy", "unreachable", "path"])
async def test_adding_that_fails_leaves_nothing(site: Site, fault: str) -> None:
    url = "/etc" if fault == "path" else "/var/lib/cairn-backup"
    if fault == "deploy":
        site.driver.refuse = trouble()
    if fault == "unreachable":
        site.kill()

    with pytest.raises(CairnError) as caught:
        await site.add_storage(url=url)

    expected = {"deploy": "ssh.unreachable", "unreachable": "agent.unreachable", "path": "agent.path-refused"}
    assert caught.value.code == expected[fault]
    assert await site.rows(BackupStorage) == []
    assert await site.rows(UserTag) == []
    assert await site.gone()


async def test_a_reconnect_that_fails_leaves_it_disconnected_and_one_that_succeeds_connects_it(site: Site) -> None:
    storage = await site.add_storage()
    site.kill()
    await site.refused(ReconnectBackupStorage(uuid=storage), "agent.unreachable")
    lost = await site.storage(storage)
    site.mend()
    await site.call(ReconnectBackupStorage(uuid=storage))
    back = await site.storage(storage)

    assert (lost.status.value, lost.status_reason) == ("Disconnected", "connecting failed")
    assert (back.status.value, back.status_reason) == ("Connected", None)
    told = [row.content["status"] for row in await site.rows(EventRow, name="backup-storage.status-changed")]
    assert told == ["Connected", "Connecting", "Disconnected", "Connecting", "Connected"]
