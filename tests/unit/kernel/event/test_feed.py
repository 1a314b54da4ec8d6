from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from tests.unit.kernel.event.site import Site, Stopped, moves

from cairn.kernel.event import EventRow
from cairn.kernel.event.feed import BUFFER, HEARTBEAT_SECONDS


class Listening:
    """A stream that is read as it comes; None stands for a sign of life."""

    def __init__(self, site: Site, after: int = 0, *names: str, account: str | None = None) -> None:
        self.told: list[object] = []
        self._stream = site.events.stream(after, names=frozenset(names), account=account)
        self.task = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        async for row in self._stream:
            self.told.append(None if row is None else row.content.get("toWhere", row.name))

    async def leave(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


async def test_stream_takes_up_behind_a_sequence_number_and_goes_on(site: Site) -> None:
    await site.emit(*moves(1, 2, 3))
    stream = Listening(site, 2)
    await site.clock.settle()
    assert stream.told == [3]

    await site.emit(*moves(4))

    assert stream.told == [3, 4]
    assert site.clock.monotonic() == 0.0
    await stream.leave()


async def test_stream_says_that_nothing_happens_every_15_seconds_also_when_others_do(site: Site) -> None:
    stream = Listening(site, 0, "test-event.stopped")
    for number in range(4):
        await site.emit(*moves(number))
        await site.clock.advance(5.0)
    assert stream.told == [None]

    await site.emit(Stopped())

    assert stream.told == [None, "test-event.stopped"]
    await stream.leave()


async def test_stream_that_is_left_leaves_nothing_behind(site: Site) -> None:
    streams = [Listening(site), Listening(site)]
    await site.clock.settle()
    assert len(site.events.feed) == 2

    for stream in streams:
        await stream.leave()
    await site.clock.settle()

    assert (len(site.events.feed), site.clock.pending()) == (0, 0)
    again = Listening(site)
    await site.emit(*moves(1))
    assert again.told == [1]
    await again.leave()


async def test_stream_catches_up_over_more_events_than_one_look_takes(site: Site) -> None:
    await site.emit(*moves(*range(1100)))
    stream = Listening(site)
    await site.clock.settle()

    assert stream.told == list(range(1100))
    await stream.leave()


async def test_what_happens_while_a_stream_catches_up_is_told_once_and_in_order(site: Site) -> None:
    await site.emit(*moves(*range(600)))
    stream: AsyncIterator[EventRow | None] = site.events.stream(0)
    other = Listening(site)
    told: list[object] = []
    for number in range(605):
        row = await anext(stream)
        assert row is not None
        told.append(row.content["toWhere"])
        if number % 100 == 50 and len(told) < 600:
            await site.emit(*moves(600 + number // 100))

    assert told == list(range(605))
    assert other.told == list(range(606))
    await stream.aclose()  # type: ignore[attr-defined]
    await other.leave()


async def test_stream_that_does_not_take_what_it_is_handed_misses_nothing(site: Site) -> None:
    slow: AsyncIterator[EventRow | None] = site.events.stream(0)
    waiting = asyncio.ensure_future(anext(slow))
    await site.clock.settle()
    most = 3 * BUFFER
    for start in range(0, most, 500):
        await site.emit(*moves(*range(start, start + 500)))

    told = [await waiting, *[await anext(slow) for _ in range(most - 1)]]

    assert [row.content["toWhere"] for row in told if row is not None] == list(range(most))
    await slow.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("names", "account", "expected"),
    [
        ((), None, [1, 2, 3, "test-event.stopped"]),
        (("test-event.moved",), None, [1, 2, 3]),
        ((), "alice", [1, "test-event.stopped"]),
        (("test-event.stopped", "test-event.other"), "alice", ["test-event.stopped"]),
        ((), "nobody", []),
    ],
)
@pytest.mark.parametrize("first", [True, False])
async def test_stream_hears_what_concerns_it_and_nothing_else(
    site: Site, names: tuple[str, ...], account: str | None, expected: list[object], first: bool
) -> None:
    everything = Listening(site)
    if first:
        stream = Listening(site, 0, *names, account=account)
    await site.emit(*moves(1), account="alice")
    await site.emit(*moves(2), account="bob")
    await site.emit(*moves(3), account=None)
    await site.emit(Stopped(), account="alice")
    if not first:
        stream = Listening(site, 0, *names, account=account)
    await site.clock.settle()

    assert stream.told == expected
    await stream.leave()
    await everything.leave()


async def test_stream_hears_at_once_what_happened_while_nobody_was_concerned(site: Site) -> None:
    bob = Listening(site, account="bob")
    await site.clock.settle()
    await site.emit(*moves(1), account="alice")
    alice = Listening(site, account="alice")
    await site.clock.settle()

    assert (alice.told, bob.told) == ([1], [])
    await alice.leave()
    await bob.leave()


async def test_reads_do_not_grow_with_the_streams(site: Site) -> None:
    async def reads(streams: int, *, concerned: bool) -> int:
        last = (await site.rows() or [EventRow(name="", content={}, create_date=site.clock.now())])[-1].sequence
        open_ones = [Listening(site, last, account=f"account-{number}") for number in range(streams)]
        await site.clock.settle()
        site.store.reads = 0
        for number in range(5):
            await site.emit(*moves(number), account="account-0" if concerned else "somebody")
        found = site.store.reads
        assert open_ones[0].told == ([0, 1, 2, 3, 4] if concerned else [])
        for one in open_ones:
            await one.leave()
        await site.clock.settle()
        return found

    assert [await reads(number, concerned=False) for number in (10, 1000)] == [0, 0]
    few, many = [await reads(number, concerned=True) for number in (10, 1000)]
    assert few == many <= 10


async def test_what_another_node_has_committed_is_heard_within_a_heartbeat(site: Site) -> None:
    stream = Listening(site)
    await site.clock.settle()
    other = site.another()
    await site.store.write(lambda tx: other.emit(tx, moves(1)[0]))
    await site.clock.advance(HEARTBEAT_SECONDS)

    assert 1 in stream.told
    await stream.leave()


async def test_trouble_of_the_store_ends_no_stream(site: Site) -> None:
    await site.emit(*moves(1))
    behind, ahead = Listening(site), Listening(site, 1)
    site.store.broken = True
    await site.clock.advance(5.0)
    site.store.broken = False
    await site.clock.advance(1.0)
    await site.emit(*moves(2))

    assert (behind.told, ahead.told) == ([1, 2], [2])
    site.store.broken = True
    await site.clock.advance(60.0)
    site.store.broken = False
    await site.clock.advance(1.0)
    await site.emit(*moves(3))

    assert [what for what in behind.told if what is not None] == [1, 2, 3]
    await behind.leave()
    await ahead.leave()
