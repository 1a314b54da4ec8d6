from __future__ import annotations

from tests.unit.services.image_site import Site

from cairn.services.image.messages import DeleteImage
from cairn.services.image.model import Image
from cairn.services.image.sweeper import ImageSweeper

WEEK, HOUR = 604_800, 3600


async def start(site: Site) -> None:
    """Start the sweeper alone: monitors would ping all the while."""
    (sweeper,) = (one for one in site.context.background if isinstance(one, ImageSweeper))
    await sweeper.start()


async def test_image_is_expunged_a_while_after_its_deletion(site: Site) -> None:
    storage = await site.add_storage()
    kept, gone = await site.add_image(storage, name="kept"), await site.add_image(storage, name="gone")
    await start(site)
    await site.call(DeleteImage(uuid=gone))
    await site.clock.advance(WEEK - HOUR)
    assert {row.uuid for row in await site.rows(Image)} == {kept, gone}
    await site.clock.advance(2 * HOUR)
    assert {row.uuid for row in await site.rows(Image)} == {kept}
    assert len(site.host().images) == 1


async def test_one_that_cannot_be_expunged_holds_up_no_other_and_is_tried_again(site: Site) -> None:
    first, second = await site.add_storage("a"), await site.add_storage("b", "sim-0001")
    images = [await site.add_image(storage) for storage in (first, second)]
    await site.set("image", "expunge.after", str(HOUR))
    for image in images:
        await site.call(DeleteImage(uuid=image))
    await start(site)
    site.kill("backup")
    await site.clock.advance(3 * HOUR)
    assert [row.uuid for row in await site.rows(Image)] == images[:1]
    site.mend("backup")
    await site.clock.advance(3 * HOUR)
    assert await site.rows(Image) == []


async def test_zero_keeps_deleted_images_for_ever(site: Site) -> None:
    image = await site.add_image(await site.add_storage())
    await site.set("image", "expunge.after", "0")
    await site.call(DeleteImage(uuid=image))
    await start(site)
    await site.clock.advance(2 * WEEK)
    assert [row.uuid for row in await site.rows(Image)] == [image]
