from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.unit.services.host.placement.test_allocator import Book, host, need

from cairn.kernel.error import CairnError
from cairn.kernel.resource import Resource
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import SystemTag
from cairn.services.host.extensions import Candidate, HostFilter, HostNeed
from cairn.services.host.steps.claim import ClaimHost, ClaimHostInput, ReleaseHost, ReleaseHostInput
from cairn.services.ids import HostId
from cairn.services.zone.messages import CreateZone, DeleteZone


async def test_a_claim_that_is_undone_twice_gives_back_once_what_it_took() -> None:
    book = await Book.open(host("a", memory=1024, cpus=8))
    step, given = ClaimHost(book.allocator), ClaimHostInput(host_need=need("vm", memory=512, cpus=2))

    made = await book.do(lambda tx: step.do(tx, given))
    taken = await book.free("a")
    for _ in range(2):
        await book.do(lambda tx: step.undo(tx, given, made))

    assert (made.place.name, taken) == ("a", (512, 6))
    assert (await book.free("a"), await book.claims()) == ((1024, 8), {})


class SeesTags(HostFilter):
    def __init__(self) -> None:
        self.seen: list[list[str]] = []

    def refuse(self, tx: Tx, need: HostNeed, candidates: Sequence[Candidate]) -> dict[HostId, str]:
        self.seen.append(need.tags)
        return {}


async def test_filters_see_the_tags_of_a_vm_that_is_made_and_of_one_that_is_there() -> None:
    rule = SeesTags()
    book = await Book.open(host("a", memory=1024, cpus=8), filters=[rule])
    step = ClaimHost(book.allocator)

    def tagged(tx: Tx) -> None:
        tx.insert(Resource(uuid="old", type="VmInstance", name="old", create_date=tx.now))
        tx.insert(
            SystemTag(uuid="t", resource_uuid="old", resource_type="VmInstance", tag="rack::7", create_date=tx.now)
        )

    await book.do(tagged)
    making = CreateZone(name="any call that makes something", system_tags=["rack::3"])
    for vm, asked in (("new", making), ("old", DeleteZone(uuid="1" * 32)), ("old2", None)):
        given = ClaimHostInput(host_need=need(vm, memory=64, cpus=1), asked=asked)
        await book.do(lambda tx: step.do(tx, given))  # noqa: B023

    assert rule.seen == [["rack::3"], ["rack::7"], []]


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
