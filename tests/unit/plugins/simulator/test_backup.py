from __future__ import annotations

import pytest
from tests.unit.services.image_site import ORIGIN, Site

from cairn.kernel.error import CairnError
from cairn.plugins.simulator.backup import TYPE
from cairn.plugins.simulator.messages import BACKUP_FOLDER, AddSimulatorBackupStorage
from cairn.plugins.simulator.model import SimulatorBackupStorage
from cairn.services.backup_storage.extensions import BackupStorageDriver
from cairn.services.backup_storage.messages import DeleteBackupStorage
from cairn.services.ids import BackupStorageId
from cairn.services.image.model import Image


def driver(site: Site) -> BackupStorageDriver:
    return site.context.extensions.named(BackupStorageDriver, TYPE)


async def added(site: Site) -> BackupStorageId:
    message = AddSimulatorBackupStorage(resource_uuid=site.ids.new(), name="shelf", url=f"{ORIGIN}/hosts/backup")
    return BackupStorageId((await site.call(message)).uuid)


async def test_one_is_connected_in_its_folder_and_takes_images(site: Site) -> None:
    storage = await added(site)
    image = await site.add_image(storage)

    row = await site.storage(storage)
    assert (row.status.value, row.type, row.url) == ("Connected", TYPE, BACKUP_FOLDER)
    assert site.host().storage == [BACKUP_FOLDER]
    assert (await site.row(Image, image)).status.value == "Ready"


async def test_hosts_fetch_below_the_simulated_agent_by_the_path_in_its_folder(site: Site) -> None:
    storage = await added(site)
    path = f"{BACKUP_FOLDER}/images/a b/image.qcow2"

    url = await site.context.store.read(lambda tx: driver(site).image_url(tx, storage, path))

    assert url == f"{ORIGIN}/hosts/backup/v1/images/images/a%20b/image.qcow2"


async def test_one_that_is_gone_is_nowhere(site: Site) -> None:
    storage = await added(site)
    await site.call(DeleteBackupStorage(uuid=storage))

    assert await site.rows(SimulatorBackupStorage) == []
    with pytest.raises(CairnError) as caught:
        await site.context.store.read(lambda tx: driver(site).endpoint(tx, storage))
    assert caught.value.code == "backup-storage.not-found"
