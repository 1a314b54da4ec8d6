from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from tests.unit.services.image_site import Site

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.loop import Loops
from cairn.kernel.metrics import Metrics
from cairn.services.image.copies import ImageCopy, ImageFiles
from cairn.services.image.messages import DeleteImage
from cairn.services.image.model import Image
from cairn.services.image.sweeper import ROUND_SECONDS, ImageSweeper

WEEK, HOUR = 604_800, 3600


@asynccontextmanager
async def swept(site: Site) -> AsyncIterator[None]:
    """The sweeper alone at work: monitors would ping all the while."""
    context = site.context
    sweeper = ImageSweeper(context.store, context.bus, context.config, context.ring, context.node)
    loops = Loops(site.clock, Metrics())
    loops.every("sweeper", lambda: ROUND_SECONDS, sweeper.sweep)
    loops.start()
    yield
    await loops.stop()


async def test_image_is_expunged_a_while_after_its_deletion(site: Site) -> None:
    storage = await site.add_storage()
    kept, gone = await site.add_image(storage, name="kept"), await site.add_image(storage, name="gone")
    async with swept(site):
        await site.call(DeleteImage(uuid=gone))
        await site.clock.advance(WEEK - HOUR)
        assert {row.uuid for row in await site.rows(Image)} == {kept, gone}
        await site.clock.advance(2 * HOUR)
        assert {row.uuid for row in await site.rows(Image)} == {kept}
        assert len(site.host().images) == 1


async def test_one_that_cannot_be_expunged_holds_up_no_other_and_is_tried_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = await site.add_storage()
    images = [await site.add_image(storage) for _ in range(2)]
    await site.set("image", "expunge.after", str(HOUR))
    for image in images:
        await site.call(DeleteImage(uuid=image))
    remove = ImageFiles.remove

    async def refuse(files: ImageFiles, copies: Sequence[ImageCopy]) -> None:
        if any(images[0] in copy.path for copy in copies):
            raise CairnError("store.full", "No.", kind=ErrorKind.UNAVAILABLE)
        await remove(files, copies)

    async with swept(site):
        monkeypatch.setattr(ImageFiles, "remove", refuse)
        await site.clock.advance(3 * HOUR)
        assert [row.uuid for row in await site.rows(Image)] == images[:1]
        monkeypatch.undo()
        await site.clock.advance(3 * HOUR)
        assert await site.rows(Image) == []


async def test_zero_keeps_deleted_images_for_ever(site: Site) -> None:
    image = await site.add_image(await site.add_storage())
    await site.set("image", "expunge.after", "0")
    await site.call(DeleteImage(uuid=image))
    async with swept(site):
        await site.clock.advance(2 * WEEK)
        assert [row.uuid for row in await site.rows(Image)] == [image]
