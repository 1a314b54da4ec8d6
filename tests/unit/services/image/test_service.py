from __future__ import annotations

import pytest
from tests.unit.services.image_site import ACCOUNT, GOOD, Site

from cairn.kernel.api import StateEvent
from cairn.services.image.messages import (
    ChangeImageState,
    DeleteImage,
    ExpungeImage,
    ImageFormat,
    ImagePlatform,
    RecoverImage,
    UpdateImage,
)
from cairn.services.image.model import Image, ImageStatus


async def test_an_added_image_is_shown_with_its_copies_sizes_and_check_sum(site: Site) -> None:
    storage = await site.add_storage()
    image = await site.add_image(storage, platform="Linux", user_tags=["red"])

    shown = await site.shown("Image", image)
    file = next(iter(site.host().images.values()))
    assert (shown["status"], shown["state"], shown["accountUuid"]) == ("Ready", "Enabled", ACCOUNT)
    assert (shown["size"], shown["actualSize"]) == (file.virtual_size_bytes, file.actual_size_bytes)
    assert (shown["sha256"], shown["md5Sum"], shown["url"]) == (file.sha256, None, GOOD)
    refs = shown["backupStorageRefs"]
    assert isinstance(refs, list)
    assert [(ref["backupStorageUuid"], ref["status"], ref["installPath"]) for ref in refs] == [
        (storage, "Ready", file.path)
    ]
    assert "givenUp" not in refs[0]


@pytest.mark.parametrize("format_", ["vmdk", "iso", "qcow3", ""])
async def test_a_format_that_nobody_can_use_is_refused_with_those_that_fit(site: Site, format_: str) -> None:
    storage = await site.add_storage()
    error = await site.refused(site.image(storage, format=format_), "image.wrong-format")

    assert "qcow2 or raw would fit" in error.message
    assert await site.gone()


@pytest.mark.parametrize(
    "url",
    [
        "ftp://images/x.qcow2",
        "images/x.qcow2",
        "http://",
        "file://",
        "http:///x",
        "http://a b/",
        "http://[",
        "http://a/\n",
    ],
)
async def test_a_url_that_nobody_fetches_is_refused_with_those_that_fit(site: Site, url: str) -> None:
    storage = await site.add_storage()
    error = await site.refused(site.image(storage, url=url), "image.wrong-url")

    assert "would fit" in error.fields["url"]
    assert await site.gone()


async def test_an_update_changes_what_is_given_but_never_the_format(site: Site) -> None:
    image = await site.add_image(await site.add_storage())
    same = ImageFormat.QCOW2
    await site.call(UpdateImage(uuid=image, name="new", platform=ImagePlatform.WINDOWS, virtio=False, format=same))
    await site.refused(UpdateImage(uuid=image, name="worse", format=ImageFormat.RAW), "image.format-fixed")

    row = await site.row(Image, image)
    assert (row.name, row.platform.value, row.virtio, row.format.value) == ("new", "Windows", False, "qcow2")


async def test_disabled_and_enabled_again(site: Site) -> None:
    image = await site.add_image(await site.add_storage())
    states = []
    for event in (StateEvent.DISABLE, StateEvent.ENABLE):
        await site.call(ChangeImageState(uuid=image, state_event=event))
        states.append((await site.row(Image, image)).state.value)

    assert states == ["Disabled", "Enabled"]


async def test_a_deleted_image_keeps_its_files_and_can_be_recovered(site: Site) -> None:
    storage = await site.add_storage()
    image = await site.add_image(storage)
    for _ in range(2):
        await site.call(DeleteImage(uuid=image))
    deleted, kept = (await site.row(Image, image)).status, len(site.host().images)
    for _ in range(2):
        await site.call(RecoverImage(image_uuid=image))

    assert (deleted, kept) == (ImageStatus.DELETED, 1)
    assert (await site.row(Image, image)).status is ImageStatus.READY
    assert await site.refs(image) == {storage: ("Ready", False)}
    assert await site.events() == ["Ready", "Deleted", "Ready"]


async def test_copies_are_deleted_one_by_one_and_the_last_ones_deletion_is_the_images(site: Site) -> None:
    first, second = await site.add_storage("a"), await site.add_storage("b", "sim-0001")
    image = await site.add_image(first, second)

    await site.call(DeleteImage(uuid=image, backup_storage_uuids=[first]))
    assert (await site.row(Image, image)).status is ImageStatus.READY
    assert await site.refs(image) == {first: ("Deleted", False), second: ("Ready", False)}

    await site.call(DeleteImage(uuid=image, backup_storage_uuids=[second]))
    assert (await site.row(Image, image)).status is ImageStatus.DELETED

    await site.call(RecoverImage(image_uuid=image, backup_storage_uuids=[second]))
    assert (await site.row(Image, image)).status is ImageStatus.READY
    assert await site.refs(image) == {first: ("Deleted", False), second: ("Ready", False)}


async def test_calls_about_an_image_that_is_not_there(site: Site) -> None:
    await site.refused(UpdateImage(uuid="f" * 32), "image.not-found")
    await site.refused(RecoverImage(image_uuid="f" * 32), "image.not-found")
    await site.call(DeleteImage(uuid="f" * 32))
    await site.call(ExpungeImage(image_uuid="f" * 32))


async def test_an_account_that_goes_takes_its_images_with_it(site: Site) -> None:
    image = await site.add_image(await site.add_storage())
    assert await site.context.store.read(lambda tx: site.context.cascade.owned(tx, ACCOUNT)) == {"Image": 1}

    for message in (DeleteImage(uuid=image), ExpungeImage(image_uuid=image)):
        await site.call(message)

    assert await site.gone()
    assert site.host().images == {}
