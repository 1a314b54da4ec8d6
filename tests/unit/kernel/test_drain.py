from __future__ import annotations

import asyncio
from typing import cast

import pytest

from cairn.kernel.bus.bus import Bus
from cairn.kernel.drain import Drain
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.ids import NodeId
from cairn.kernel.jobs import Jobs
from cairn.kernel.membership import Membership
from cairn.kernel.ring import Ring
from cairn.testing.clock import VirtualClock

OWN, OTHER = NodeId("a" * 32), NodeId("b" * 32)


class Member:
    """The membership, the jobs and the bus of a node that is to be drained."""

    def __init__(self, clock: VirtualClock, *, others: bool = True) -> None:
        self.clock = clock
        self.ring = Ring()
        self.ring.set_members([OWN, OTHER], 1)
        self.node = OWN
        self.others = others
        self.broken = False
        self.running = 0
        self.serving = 0
        self.passed_on = 0

    async def drain(self) -> bool:
        if self.broken:
            raise CairnError("store.broken", "The database cannot be reached.", kind=ErrorKind.UNAVAILABLE)
        if self.others:
            self.ring.set_members([OTHER], 2, draining=[OWN])
        return self.others

    def counts(self) -> tuple[int, int]:
        return self.running, 0

    def pass_on(self) -> None:
        self.passed_on += 1

    def begin(self, seconds: float = 20, notice_seconds: float = 2) -> asyncio.Task[bool]:
        drain = Drain(
            membership=cast("Membership", self),
            ring=self.ring,
            jobs=cast("Jobs", self),
            bus=cast("Bus", self),
            clock=self.clock,
        )
        return asyncio.ensure_future(drain.run(seconds, notice_seconds))


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


async def test_idle_node_takes_calls_until_proxies_have_noticed(clock: VirtualClock) -> None:
    member = Member(clock)
    done = member.begin()
    await clock.advance(1.9)
    assert not done.done()
    await clock.advance(0.2)
    assert await done
    assert member.passed_on > 1


@pytest.mark.parametrize("what", ["running", "serving"])
async def test_what_is_at_work_here_is_waited_for_as_long_as_the_setting_says(clock: VirtualClock, what: str) -> None:
    ending, lasting = Member(clock), Member(clock)
    for member in (ending, lasting):
        setattr(member, what, 1)
    done, given_up = ending.begin(), lasting.begin()
    await clock.advance(10)
    assert not done.done()
    setattr(ending, what, 0)
    await clock.advance(0.2)
    assert await done
    await clock.advance(10)
    assert given_up.done()
    assert not await given_up


async def test_node_without_others_waits_for_nothing(clock: VirtualClock) -> None:
    member = Member(clock, others=False)
    member.running = 1
    assert not await clock.run(member.begin())
    assert clock.monotonic() == 0


async def test_waiting_ends_when_the_others_leave_too(clock: VirtualClock) -> None:
    member = Member(clock)
    member.running = 1
    done = member.begin()
    await clock.advance(1)
    member.ring.set_members([], 3, draining=[OWN])
    await clock.advance(0.2)
    assert done.done()
    assert not await done


async def test_node_that_cannot_reach_the_database_is_not_kept_from_ending(clock: VirtualClock) -> None:
    member = Member(clock)
    member.broken = True
    assert not await clock.run(member.begin())
