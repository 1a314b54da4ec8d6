from __future__ import annotations

from tests.unit.services.storage_rig import StorageRig

from cairn.services.ids import HostId, ImageId
from cairn.services.image.extensions import ImageCaches
from cairn.services.primary_storage.model import ImageCache


async def test_an_images_caches_are_dropped_on_each_storage_that_has_one(rig: StorageRig) -> None:
    zone = await rig.zone()
    first, second = await rig.storage(zone, "a"), await rig.storage(zone, "b")
    for storage, host, image in ((first, "h1", "gone"), (first, "h2", "gone"), (second, "h1", "kept")):
        await rig.node.insert(
            ImageCache(
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
        )

    for caches in rig.node.context.extensions.of(ImageCaches):
        await caches.drop(ImageId("gone"))

    assert rig.driver.dropped == [(first, "gone")]
