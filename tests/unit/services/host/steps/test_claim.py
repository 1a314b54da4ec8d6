from __future__ import annotations

import pytest
from tests.unit.services.host.placement.test_allocator import Book, host, need

from cairn.kernel.error import CairnError
from cairn.services.host.steps.claim import ClaimHost, ClaimHostInput, ReleaseHost, ReleaseHostInput


async def test_a_claim_that_is_undone_twice_gives_back_once_what_it_took() -> None:
    book = await Book.open(host("a", memory=1024, cpus=8))
    step, given = ClaimHost(book.allocator), ClaimHostInput(host_need=need("vm", memory=512, cpus=2))

    made = await book.do(lambda tx: step.do(tx, given))
    taken = await book.free("a")
    for _ in range(2):
        await book.do(lambda tx: step.undo(tx, given, made))

    assert (made.place.name, taken) == ("a", (512, 6))
    assert (await book.free("a"), await book.claims()) == ((1024, 8), {})


async def test_a_claim_that_was_refused_has_nothing_to_undo() -> None:
    book = await Book.open(host("a", memory=1024))
    step, given = ClaimHost(book.allocator), ClaimHostInput(host_need=need("vm", memory=2048))

    with pytest.raises(CairnError) as caught:
        await book.do(lambda tx: step.do(tx, given))
    await book.do(lambda tx: step.undo(tx, given, None))

    assert caught.value.code == "host.none-fits"
    assert (await book.free("a"), await book.claims()) == ((1024, 8), {})


async def test_a_host_is_released_once_and_other_vms_keep_theirs() -> None:
    book = await Book.open(host("a", memory=1024, cpus=8))
    for vm in ("web", "db"):
        await book.claim(vm, memory=256, cpus=1)
    step = ReleaseHost(book.allocator)
    for uuid in ("web", "web", "nobody"):
        await book.do(lambda tx: step.do(tx, ReleaseHostInput(uuid=uuid)))  # noqa: B023

    assert (await book.free("a"), await book.claims()) == ((768, 7), {"db": "uuid-a"})
