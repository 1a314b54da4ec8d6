from __future__ import annotations

import asyncio

import pytest

from cairn.gateway.http import Reply
from cairn.gateway.waiting import Later, Stopping, Waiting
from cairn.kernel.ids import JobId
from cairn.kernel.job import Job
from cairn.kernel.open_jobs import Waiter
from cairn.testing.clock import VirtualClock

HERE, ELSEWHERE = JobId("1" * 32), JobId("2" * 32)


class Jobs:
    """One job that is here."""

    def __init__(self) -> None:
        self.waiters: list[Waiter] = []

    def watch(self, job: JobId, waiter: Waiter) -> bool:
        if job == HERE:
            self.waiters.append(waiter)
        return job == HERE

    def unwatch(self, job: JobId, waiter: Waiter) -> None:
        if waiter in self.waiters:
            self.waiters.remove(waiter)

    def end(self) -> None:
        for waiter in list(self.waiters):
            waiter.wake()


async def answer(left: float, ended: Job | None) -> Reply:
    return Reply(b"{}")


def later(job: JobId = HERE, seconds: float = 30.0) -> Later:
    return Later(job, seconds, answer)


@pytest.fixture
def jobs() -> Jobs:
    return Jobs()


@pytest.fixture
def waiting(clock: VirtualClock, jobs: Jobs) -> Waiting:
    return Waiting(clock, jobs)


async def forever() -> None:
    await asyncio.Event().wait()


async def at_once() -> int:
    return 5


async def test_result_comes_through(waiting: Waiting) -> None:
    assert await waiting.on(at_once()) == 5


async def test_stop_ends_waits_and_lets_no_more_begin(waiting: Waiting) -> None:
    wait = asyncio.ensure_future(waiting.on(forever()))
    await asyncio.sleep(0)

    waiting.stop()
    waiting.stop()

    with pytest.raises(Stopping):
        await wait
    with pytest.raises(Stopping):
        await waiting.on(at_once())
    assert len(waiting) == 0


async def test_cancelled_wait_cancels_its_work(waiting: Waiting) -> None:
    wait = asyncio.ensure_future(waiting.on(forever()))
    await asyncio.sleep(0)

    wait.cancel()

    with pytest.raises(asyncio.CancelledError):
        await wait
    assert len(waiting) == 0


async def test_held_request_is_answered_once_when_its_job_ends(
    waiting: Waiting, jobs: Jobs, clock: VirtualClock
) -> None:
    begun: list[float] = []
    held = waiting.hold(later(), lambda left, ended: begun.append(left))
    assert held is not None
    assert len(waiting) == 1
    await clock.advance(10)

    jobs.end()
    held.wake()
    await clock.advance(60)

    assert begun == [pytest.approx(20)]
    assert len(waiting) == 0
    assert jobs.waiters == []


async def test_held_request_is_answered_when_its_time_is_over(
    waiting: Waiting, jobs: Jobs, clock: VirtualClock
) -> None:
    begun: list[float] = []
    waiting.hold(later(seconds=30), lambda left, ended: begun.append(left))

    await clock.advance(29)
    assert begun == []
    await clock.advance(2)

    assert begun == [0.0]
    assert jobs.waiters == []


async def test_request_for_a_job_of_another_node_is_not_held(waiting: Waiting) -> None:
    assert waiting.hold(later(ELSEWHERE), lambda left, ended: None) is None
    assert len(waiting) == 0


async def test_nothing_is_left_of_a_held_request_whose_client_goes(
    waiting: Waiting, jobs: Jobs, clock: VirtualClock
) -> None:
    begun: list[float] = []
    held = waiting.hold(later(), lambda left, ended: begun.append(left))
    assert held is not None

    held.drop()
    jobs.end()
    await clock.advance(60)

    assert begun == []
    assert len(waiting) == 0
    assert jobs.waiters == []


async def test_node_that_stops_answers_what_it_holds_and_holds_no_more(waiting: Waiting) -> None:
    begun: list[float] = []
    waiting.hold(later(), lambda left, ended: begun.append(left))

    waiting.stop()

    assert len(begun) == 1
    assert waiting.hold(later(), lambda left, ended: begun.append(left)) is None
    assert len(waiting) == 0
