from __future__ import annotations

import pytest
from tests.unit.services.image_site import ORIGIN, Site, private_key, trouble

from cairn.kernel.flow.journal import FlowRun
from cairn.plugins.backup_server.messages import (
    AddSftpBackupStorage,
    ReconnectSftpBackupStorage,
    UpdateSftpBackupStorage,
)
from cairn.plugins.backup_server.model import SftpBackupStorage
from cairn.services.backup_storage.messages import DeleteBackupStorage
from cairn.services.backup_storage.model import BackupStorage


def add(site: Site, **given: object) -> AddSftpBackupStorage:
    """The call that adds the simulated backup server."""
    fields: dict[str, object] = {
        "resource_uuid": site.ids.new(),
        "name": "shelf",
        "hostname": "backup",
        "password": "secret",
        "url": "/var/lib/cairn-backup/",
    }
    return AddSftpBackupStorage(**{**fields, **given})  # type: ignore[arg-type]


async def test_a_machine_is_made_a_backup_storage(site: Site) -> None:
    storage = (await site.call(add(site, username="admin", ssh_port=2222))).uuid

    shown = await site.shown("SftpBackupStorage", storage)
    ((playbook, uuid, target, settings),) = site.installer.installed
    assert (playbook, uuid) == ("backup.yml", storage)
    assert (target.host, target.port, target.username, target.password) == ("backup", 2222, "admin", "secret")
    assert settings == {
        "port": 7171,
        "storage_path": "/var/lib/cairn-backup",
        "file_url_dirs": ["/var/lib/cairn-images"],
    }
    assert (shown["status"], shown["type"], shown["hostname"]) == ("Connected", "SftpBackupStorage", "backup")
    assert (shown["url"], shown["sshPort"], shown["username"]) == ("/var/lib/cairn-backup", 2222, "admin")
    assert not {"password", "privateKey", "folder"} & shown.keys()
    assert ("POST", f"{ORIGIN}/hosts/backup/v1/commands") in site.transport.requests


async def test_a_private_key_does_instead_of_a_password(site: Site) -> None:
    storage = (await site.call(add(site, password=None, private_key=private_key()))).uuid

    assert site.installer.keys == {storage: private_key()}
    assert site.installer.installed[0][2].password is None


async def test_without_a_way_to_log_in_or_with_a_folder_that_is_none_it_is_refused(site: Site) -> None:
    await site.refused(add(site, password=None), "ssh.no-login")
    for url in ("relative/path", "/var/../etc", "/", "//", "http://server/path"):
        await site.refused(add(site, url=url), "backup-server.bad-url")
    assert site.installer.installed == []


async def test_a_second_backup_server_at_the_same_address_is_refused(site: Site) -> None:
    first = (await site.call(add(site, name="first"))).uuid

    error = await site.refused(add(site, name="second"), "backup-server.hostname-taken")

    assert f"is the backup storage first ({first}) already" in error.message
    assert len(await site.rows(BackupStorage)) == 1


@pytest.mark.parametrize("fault", ["install", "connect"])
async def test_one_that_cannot_be_added_leaves_nothing(site: Site, fault: str) -> None:
    if fault == "install":
        site.installer.refuse = trouble()
    else:
        site.kill()
    message = add(site)
    await site.refused(message, "ssh.unreachable" if fault == "install" else "agent.unreachable")

    for kind in (BackupStorage, SftpBackupStorage, FlowRun):
        assert await site.rows(kind) == []
    assert site.installer.forgotten == [message.resource_uuid]


async def test_a_new_address_and_login_are_used_from_the_next_connect_on(site: Site) -> None:
    storage = (await site.call(add(site, private_key=private_key()))).uuid
    await site.call(
        UpdateSftpBackupStorage(uuid=storage, name="new", hostname="sim-0001", password="other", ssh_port=23)
    )
    row = await site.row(SftpBackupStorage, storage)
    await site.refused(ReconnectSftpBackupStorage(uuid=storage), "backup-storage.machine-changed")
    await site.call(ReconnectSftpBackupStorage(uuid=storage, accept_machine=True, redeploy=True))

    assert (row.hostname, row.password, row.private_key, row.ssh_port) == ("sim-0001", "other", None, 23)
    assert (await site.storage(storage)).name == "new"
    assert site.installer.installed[-1][2].host == "sim-0001"
    assert site.host("sim-0001").storage == ["/var/lib/cairn-backup"]


async def test_an_update_to_an_address_that_another_one_has_changes_nothing(site: Site) -> None:
    await site.call(add(site, name="first"))
    second = (await site.call(add(site, name="second", hostname="sim-0001"))).uuid

    await site.refused(
        UpdateSftpBackupStorage(uuid=second, hostname="backup", username="x"), "backup-server.hostname-taken"
    )
    await site.refused(UpdateSftpBackupStorage(uuid="f" * 32, username="x"), "backup-storage.not-found")

    assert (await site.row(SftpBackupStorage, second)).username == "root"


async def test_deleting_takes_the_agent_and_all_that_is_known_of_the_machine_away(site: Site) -> None:
    storage = (await site.call(add(site))).uuid

    await site.call(DeleteBackupStorage(uuid=storage))

    assert site.installer.taken_off == [("remove.yml", storage)]
    assert site.installer.forgotten[-1] == storage
    assert await site.rows(SftpBackupStorage) == []
