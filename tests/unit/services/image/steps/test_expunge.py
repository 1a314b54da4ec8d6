from __future__ import annotations

from typing import Annotated, ClassVar

from tests.unit.services.image_site import Site, trouble

from cairn.kernel.api import DeleteMode
from cairn.kernel.plugin.manifest import Manifest
from cairn.kernel.store.record import Key, Record, References, TableMeta
from cairn.services.backup_storage.messages import DeleteBackupStorage, ReconnectBackupStorage
from cairn.services.backup_storage.model import BackupStorageDebt
from cairn.services.ids import ImageId
from cairn.services.image.messages import DeleteImage, ExpungeImage, RecoverImage
from cairn.services.image.model import Image, ImageStatus
from cairn.services.image.steps.expunge import BeginExpungeInput


class Note(Record, frozen=True, kw_only=True):
    """What a plugin has for an image."""

    meta: ClassVar[TableMeta] = TableMeta(table="image_note")

    uuid: Annotated[str, Key()]
    image_uuid: Annotated[ImageId, References("image")]


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


async def test_a_file_on_a_backup_storage_that_is_lost_keeps_no_image_and_is_removed_when_it_returns(
    site: Site,
) -> None:
    there, lost = await site.add_storage("a"), await site.add_storage("b", "sim-0001")
    image = await site.add_image(there, lost)
    await site.call(DeleteImage(uuid=image))
    site.kill("sim-0001")

    await site.call(ExpungeImage(image_uuid=image))

    assert await site.gone()
    assert site.dropped == [image]
    (debt,) = await site.rows(BackupStorageDebt)
    assert [debt.path] == list(site.host("sim-0001").images)
    site.mend("sim-0001")
    await site.call(ReconnectBackupStorage(uuid=lost))
    await site.watch()
    assert (site.host("sim-0001").images, await site.rows(BackupStorageDebt)) == ({}, [])


async def test_what_a_plugin_has_for_an_image_is_told_before_its_files_go() -> None:
    site = await Site().start([Manifest(package=__name__, doc="Notes on images.")])
    image = await site.add_image(await site.add_storage())
    await site.call(DeleteImage(uuid=image))
    await site.context.store.write(lambda tx: tx.insert(Note(uuid="e" * 32, image_uuid=ImageId(image))))

    error = await site.refused(ExpungeImage(image_uuid=image), "image.in-use")

    assert "1 image note" in error.message
    assert len(site.host().images) == 1
    await site.call(RecoverImage(image_uuid=image))
    await site.stop()


async def test_caches_that_cannot_be_dropped_keep_no_image_whose_files_are_gone(site: Site) -> None:
    image = await site.add_image(await site.add_storage())
    await site.call(DeleteImage(uuid=image))
    site.refuse_drop = trouble("host.disconnected")

    await site.call(ExpungeImage(image_uuid=image))

    assert await site.gone()


async def test_an_image_that_was_begun_to_be_expunged_cannot_be_recovered(site: Site) -> None:
    storage = await site.add_storage()
    image = await site.add_image(storage)
    await site.call(DeleteImage(uuid=image))
    await site.transact("image.begin-expunge", BeginExpungeInput(uuid=image, asked=ExpungeImage(image_uuid=image)))

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
