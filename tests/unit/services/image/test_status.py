from __future__ import annotations

from tests.unit.services.image_site import ACCOUNT, Site

from cairn.kernel.event import EventRow
from cairn.services.image.model import Image, ImageStatus
from cairn.services.image.status import set_status, tell


async def test_a_change_is_written_down_with_its_time_and_told_to_the_owner(site: Site) -> None:
    image = await site.add_image(await site.add_storage())
    before, told = await site.row(Image, image), await site.events()
    await site.clock.advance(5)
    await site.context.store.write(lambda tx: set_status(tx, site.context.events, before, ImageStatus.DELETED))

    after = await site.row(Image, image)
    assert after.status is ImageStatus.DELETED
    assert (after.last_op_date - before.last_op_date).total_seconds() > 4
    assert (await site.events())[len(told) :] == ["Deleted"]
    row = (await site.rows(EventRow, name="image.status-changed", resource_uuid=image))[-1]
    assert (row.account_uuid, row.content["name"]) == (ACCOUNT, "tiny")


async def test_a_status_that_it_has_already_changes_and_tells_nothing(site: Site) -> None:
    image = await site.add_image(await site.add_storage())
    before, told = await site.row(Image, image), await site.events()
    await site.clock.advance(5)
    await site.context.store.write(lambda tx: set_status(tx, site.context.events, before, before.status))

    assert (await site.row(Image, image), await site.events()) == (before, told)


async def test_an_image_that_is_gone_is_told_of_without_a_status(site: Site) -> None:
    image = await site.row(Image, await site.add_image(await site.add_storage()))
    await site.context.store.write(lambda tx: tell(tx, site.context.events, image, None))

    assert (await site.events())[-1] == "None"
