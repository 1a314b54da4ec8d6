from __future__ import annotations

from tests.unit.kernel.event.site import Site, Stopped, moves

from cairn.kernel.event.log import EventLog


async def test_page_says_up_to_where_it_has_everything(site: Site) -> None:
    log = EventLog(site.store)
    assert (await log.page(0)).upto == 0
    await site.emit(*moves(1, 2), Stopped())

    first = await log.page(0, limit=2)
    rest = await log.page(first.upto, limit=2)

    assert ([row.content["toWhere"] for row in first.rows], first.more) == ([1, 2], True)
    assert ([row.name for row in rest.rows], rest.upto, rest.more) == (["test-event.stopped"], 3, False)


async def test_page_of_some_names_leaves_out_the_others_and_goes_past_them(site: Site) -> None:
    log = EventLog(site.store)
    await site.emit(Stopped(), *moves(1, 2, 3))

    page = await log.page(0, names={"test-event.stopped"})
    both = await log.page(0, names={"test-event.stopped", "test-event.moved"}, limit=2)

    assert ([row.sequence for row in page.rows], page.upto) == ([1], 4)
    assert ([row.sequence for row in both.rows], both.upto) == ([1, 2], 2)


async def test_page_of_an_account_has_nothing_of_others_and_nothing_that_is_nobodys(site: Site) -> None:
    log = EventLog(site.store)
    for account in ("alice", "bob", None):
        await site.emit(*moves(1), account=account)

    page = await log.page(0, account="alice")

    assert ([row.account_uuid for row in page.rows], page.upto) == (["alice"], 3)


async def test_next_of_a_resource_is_its_first_event_that_is_heard(site: Site) -> None:
    log = EventLog(site.store)
    await site.emit(Stopped(), resource="a")
    await site.emit(*moves(1), resource="b")
    await site.emit(*moves(2), resource=None)
    await site.emit(*moves(3), resource="a")

    async def found(resource: str | None, after: int, upto: int, *names: str) -> int | None:
        row = await site.store.read(lambda tx: log.next_of(tx, resource, after, upto, names))
        return None if row is None else row.sequence

    assert await found("a", 0, 4) == 1
    assert await found("a", 0, 4, "test-event.moved") == 4
    assert await found("a", 0, 3, "test-event.moved") is None
    assert await found(None, 0, 4) == 3
    assert await found("c", 0, 4) is None
