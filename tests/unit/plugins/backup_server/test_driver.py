from __future__ import annotations

from tests.unit.plugins.backup_server.test_service import add
from tests.unit.services.image_site import Site

from cairn.plugins.backup_server.driver import TYPE, folders
from cairn.services.backup_storage.extensions import BackupStorageDriver
from cairn.services.ids import BackupStorageId


async def test_hosts_fetch_below_the_agents_images_by_the_path_in_its_folder(site: Site) -> None:
    storage = BackupStorageId((await site.call(add(site))).uuid)
    driver = site.context.extensions.named(BackupStorageDriver, TYPE)
    path = "/var/lib/cairn-backup/images/a b/image.qcow2"

    url = await site.context.store.read(lambda tx: driver.image_url(tx, storage, path))

    assert url == "https://backup:7171/v1/images/images/a%20b/image.qcow2"


async def test_an_ipv6_address_stands_in_brackets_and_the_port_is_a_setting(site: Site) -> None:
    storage = BackupStorageId((await site.call(add(site))).uuid)
    driver = site.context.extensions.named(BackupStorageDriver, TYPE)
    await site.set("backupServer", "agent.port", "7272")
    await site.context.store.write(
        lambda tx: tx.update(
            site.context.store.schema.by_entity["SftpBackupStorage"].record, storage, hostname="fd00::1"
        )
    )

    endpoint = await site.context.store.read(lambda tx: driver.endpoint(tx, storage))

    assert endpoint.base_url == "https://[fd00::1]:7272"


def test_the_folders_for_file_urls_are_separated_by_commas() -> None:
    assert folders(" /srv/a, /srv/b ,,") == ["/srv/a", "/srv/b"]
    assert folders("") == []
