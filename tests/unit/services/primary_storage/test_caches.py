from __future__ import annotations

from tests.unit.services.storage_rig import StorageRig

from cairn.kernel.error import CairnError, ErrorKind
from cairn.services.ids import HostId, ImageId, PrimaryStorageId
from cairn.services.image.extensions import ImageCaches
from cairn.services.primary_storage.model import ImageCache, PrimaryStorage


async def cached(rig: StorageRig, *places: tuple[PrimaryStorageId, str, str]) -> None:
    for storage, host, image in places:
        cache = ImageCache(
            uuid=rig.node.ids.new(),
            primary_storage_uuid=storage,
            host_uuid=HostId(host),
            image_uuid=ImageId(image),
            install_path="/x",
            format="qcow2",
            size=1,
            actual_size=1,
            create_date=rig.node.clock.now(),
        )
        await rig.node.insert(cache)


async def drop(rig: StorageRig) -> None:
    for caches in rig.node.context.extensions.of(ImageCaches):
        await caches.drop(ImageId("gone"))


async def test_an_images_caches_are_dropped_on_each_storage_that_has_one(rig: StorageRig) -> None:
    zone = await rig.zone()
    first, second = await rig.storage(zone, "a"), await rig.storage(zone, "b")
    await cached(rig, (first, "h1", "gone"), (first, "h2", "gone"), (second, "h1", "kept"))

    await drop(rig)

    assert rig.driver.dropped == [(first, "gone")]


async def test_storage_whose_driver_is_left_out_holds_up_no_other(rig: StorageRig) -> None:
    zone = await rig.zone()
    first, second = await rig.storage(zone, "a"), await rig.storage(zone, "b")
    await cached(rig, (first, "h1", "gone"), (second, "h1", "gone"))
    await rig.node.context.store.write(lambda tx: tx.update(PrimaryStorage, first, type="Unheard-of"))

    await drop(rig)
    rig.driver.refuse_drop = CairnError("host.disconnected", "No.", kind=ErrorKind.UNAVAILABLE)
    await drop(rig)

    assert rig.driver.dropped == [(second, "gone")]
