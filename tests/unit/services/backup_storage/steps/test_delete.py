from __future__ import annotations

import asyncio

import pytest
from tests.unit.services.image_site import Site, trouble

from cairn.kernel.api import DeleteMode
from cairn.kernel.error import CairnError
from cairn.services.backup_storage.messages import DeleteBackupStorage, ReconnectBackupStorage
from cairn.services.backup_storage.model import BackupStorage, BackupStorageDebt
from cairn.services.image.messages import DeleteImage, ExpungeImage
from cairn.services.image.model import Image
from cairn.simulator.dials import Dial


async def test_enforcing_removes_images_first_and_deletes_those_that_are_nowhere_else(site: Site) -> None:
    first, second = await site.add_storage("a"), await site.add_storage("b", "sim-0001")
    lonely, twin = await site.add_image(first), await site.add_image(first, second)

    await site.call(DeleteBackupStorage(uuid=first, delete_mode=DeleteMode.ENFORCING))

    assert (site.host().images, await site.rows(BackupStorageDebt)) == ({}, [])
    assert len(site.host("sim-0001").images) == 1
    assert (await site.row(Image, lonely)).status.value == "Deleted"
    assert (await site.row(Image, twin)).status.value == "Ready"
    assert await site.refs(lonely) == {}
    assert list(await site.refs(twin)) == [second]


async def test_an_agent_that_cannot_be_taken_off_keeps_it_unless_enforced(site: Site) -> None:
    storage = await site.add_storage("shelf")
    await site.add_image(storage)
    image = (await site.rows(Image))[0].uuid
    site.driver.refuse = trouble()

    await site.refused(DeleteBackupStorage(uuid=storage), "backup-storage.in-use")
    site.kill()
    await site.call(DeleteBackupStorage(uuid=storage, delete_mode=DeleteMode.ENFORCING))

    assert await site.rows(BackupStorage) == []
    assert await site.refs(image) == {}
    (debt,) = await site.rows(BackupStorageDebt)
    assert ([debt.path], debt.backup_storage_name) == (list(site.host().images), "shelf")


async def test_what_a_backup_storage_owes_is_removed_before_it_goes(site: Site) -> None:
    storage = await site.add_storage()
    image = await site.add_image(storage)
    await site.call(DeleteImage(uuid=image))
    site.kill()
    await site.call(ExpungeImage(image_uuid=image))
    site.mend()

    await site.call(ReconnectBackupStorage(uuid=storage))
    await site.call(DeleteBackupStorage(uuid=storage))

    assert (site.host().images, await site.rows(BackupStorageDebt)) == ({}, [])


async def test_a_file_that_is_being_fetched_when_its_backup_storage_goes_is_owed(site: Site) -> None:
    storage = await site.add_storage()
    site.agents.dials.turn(Dial(command="backup.download-image", delay_seconds=3.0))
    task = asyncio.ensure_future(site.context.bus.call(site.image(storage)))
    await site.clock.settle()

    await site.call(DeleteBackupStorage(uuid=storage, delete_mode=DeleteMode.ENFORCING))

    with pytest.raises(CairnError):
        await site.clock.run(task)
    assert await site.gone()
    assert [debt.backup_storage_uuid for debt in await site.rows(BackupStorageDebt)] == [storage]
