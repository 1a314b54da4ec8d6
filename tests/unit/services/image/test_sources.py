from __future__ import annotations

import pytest
from tests.unit.services.image_site import ORIGIN, ZONE, Site

from cairn.kernel.api import StateEvent
from cairn.kernel.error import CairnError
from cairn.kernel.store.store import Tx
from cairn.services.backup_storage.messages import (
    AttachBackupStorageToZone,
    ChangeBackupStorageState,
    DetachBackupStorageFromZone,
)
from cairn.services.ids import BackupStorageId, ImageId, ZoneId
from cairn.services.image.messages import DeleteImage
from cairn.services.image.model import ImageBackupStorageRef
from cairn.services.image.sources import UsableSources
from cairn.services.image.steps.choose import ChooseImage


def sources(site: Site) -> UsableSources:
    step = site.context.flows.book.step("image.choose")
    assert isinstance(step, ChooseImage)
    return step._sources


async def url(site: Site, image: str) -> str:
    return await site.context.store.write(lambda tx: sources(site).url(tx, ImageId(image), ZONE))


async def zones(site: Site, image: str) -> frozenset[ZoneId]:
    return await site.context.store.write(lambda tx: sources(site).zones(tx, ImageId(image)))


async def attached(site: Site, name: str, host: str) -> str:
    storage = await site.add_storage(name, host)
    await site.call(AttachBackupStorageToZone(zone_uuid=ZONE, backup_storage_uuid=storage))
    return storage


async def test_image_is_fetched_from_the_first_usable_copy_of_the_zone(site: Site) -> None:
    first, second = await attached(site, "a", "backup"), await attached(site, "b", "sim-0001")
    image = await site.add_image(first, second)
    refs = await site.rows(ImageBackupStorageRef, image_uuid=image)
    paths = {ref.backup_storage_uuid: ref.install_path for ref in refs}
    ways = {uuid: f"{ORIGIN}/hosts/{site.driver.hosts[uuid]}/v1/images{path}" for uuid, path in paths.items()}
    assert await url(site, image) in ways.values()

    await site.call(ChangeBackupStorageState(uuid=first, state_event=StateEvent.DISABLE))
    assert await url(site, image) == ways[BackupStorageId(second)]
    await site.call(DeleteImage(uuid=image, backup_storage_uuids=[second]))
    with pytest.raises(CairnError, match="a is Disabled and Connected"):
        await url(site, image)


async def test_backup_storage_that_is_detached_serves_its_zone_no_more(site: Site) -> None:
    storage = await attached(site, "a", "backup")
    image = await site.add_image(storage)
    assert await zones(site, image) == {ZONE}
    await site.call(DetachBackupStorageFromZone(zone_uuid=ZONE, backup_storage_uuid=storage))
    assert await zones(site, image) == frozenset()
    with pytest.raises(CairnError, match="a is not attached to the zone") as caught:
        await url(site, image)
    assert caught.value.code == "image.no-backup-storage"


async def test_architecture_is_the_images_and_none_of_one_that_is_gone(site: Site) -> None:
    image = ImageId(await site.add_image(await site.add_storage(), architecture="aarch64"))

    def fn(tx: Tx) -> list[str | None]:
        return [sources(site).architecture(tx, uuid) for uuid in (image, ImageId("f" * 32))]

    assert await site.context.store.write(fn) == ["aarch64", None]
