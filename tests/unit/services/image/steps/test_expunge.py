from __future__ import annotations

import pytest
from tests.unit.services.image_site import Site, trouble

from cairn.kernel.api import DeleteMode
from cairn.kernel.flow.journal import FlowRun
from cairn.services.backup_storage.messages import DeleteBackupStorage
from cairn.services.image.messages import DeleteImage, ExpungeImage, RecoverImage
from cairn.services.image.model import Image, ImageStatus


async def test_files_caches_rows_and_tags_go(site: Site) -> None:
    first, second = await site.add_storage("a"), await site.add_storage("b", "sim-0001")
    image = await site.add_image(first, second)
    await site.call(DeleteImage(uuid=image))

    await site.call(ExpungeImage(image_uuid=image))

    assert await site.gone()
    assert (site.host().images, site.host("sim-0001").images) == ({}, {})
    assert site.dropped == [image]
    assert await site.events() == ["Ready", "Deleted", "None"]


async def test_an_image_that_was_not_deleted_is_refused(site: Site) -> None:
    storage = await site.add_storage()
    image = await site.add_image(storage)

    await site.refused(ExpungeImage(image_uuid=image), "image.wrong-status")
    await site.refused(ExpungeImage(image_uuid=image, backup_storage_uuids=[storage]), "image.wrong-status")

    assert len(site.host().images) == 1


async def test_one_deleted_copy_goes_and_the_image_stays(site: Site) -> None:
    first, second = await site.add_storage("a"), await site.add_storage("b", "sim-0001")
    image = await site.add_image(first, second)
    await site.call(DeleteImage(uuid=image, backup_storage_uuids=[first]))

    await site.refused(ExpungeImage(image_uuid=image, backup_storage_uuids=[first, second]), "image.wrong-status")
    await site.call(ExpungeImage(image_uuid=image))

    assert await site.refs(image) == {second: ("Ready", False)}
    assert (await site.row(Image, image)).status is ImageStatus.READY
    assert site.host().images == {}
    assert site.dropped == []


@pytest.mark.parametrize("where", ["files", "caches"])
async def test_what_fails_half_way_cannot_be_recovered_and_goes_on_when_tried_again(site: Site, where: str) -> None:
    storage = await site.add_storage("shelf")
    image = await site.add_image(storage)
    await site.call(DeleteImage(uuid=image))
    if where == "files":
        site.kill()
        error = await site.refused(ExpungeImage(image_uuid=image), "image.not-removed")
        assert "backup storage shelf" in error.message
        site.mend()
    else:
        site.refuse_drop = trouble("host.disconnected")
        await site.refused(ExpungeImage(image_uuid=image), "host.disconnected")
        site.refuse_drop = None

    assert await site.rows(FlowRun) == []
    assert await site.refs(image) == {storage: ("Deleted", True)}
    await site.refused(RecoverImage(image_uuid=image), "image.no-copy")
    await site.call(ExpungeImage(image_uuid=image))
    assert await site.gone()


async def test_an_image_whose_last_backup_storage_is_gone_can_only_be_expunged(site: Site) -> None:
    storage = await site.add_storage()
    image = await site.add_image(storage)
    await site.call(DeleteBackupStorage(uuid=storage, delete_mode=DeleteMode.ENFORCING))

    await site.refused(RecoverImage(image_uuid=image), "image.no-copy")
    await site.call(ExpungeImage(image_uuid=image))

    assert await site.gone()
    assert site.dropped == [image]
