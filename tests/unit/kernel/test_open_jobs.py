from __future__ import annotations

import asyncio
from typing import ClassVar, cast

import pytest

from cairn.kernel.api import ApiCommand, ApiCreate, Reference, action, post
from cairn.kernel.error import CairnError
from cairn.kernel.ids import JobId, NodeId
from cairn.kernel.job import Job
from cairn.kernel.limits import BACKLOG_ACCOUNT
from cairn.kernel.open_jobs import OpenJob, OpenJobs
from cairn.kernel.ownership import Claim
from cairn.testing.clock import VirtualClock

NEW = "e" * 32


class Make(ApiCreate, frozen=True, kw_only=True, tag="test-open-jobs.make"):
    """Makes something."""

    http: ClassVar = post("/things")


class Use(ApiCommand[Reference], frozen=True, kw_only=True, tag="test-open-jobs.use"):
    """Uses things."""

    http: ClassVar = action("/things/{uuid}/actions", "use")
    route: ClassVar[str | None] = "uuid"
    uuid: str
    with_uuids: list[str] = []


def job(name: str, message: Make | Use, *, begun: bool = False, actor: str = "alice") -> OpenJob:
    return OpenJob(
        id=JobId(name),
        claim=Claim(name, NodeId("n"), 1),
        ring_key=name,
        api=type(message).__name__,
        message=cast("ApiCommand[object]", message),
        actor=actor,
        timeout_seconds=60.0,
        begun=begun,
    )


def opened(parallelism: int = 10) -> OpenJobs:
    return OpenJobs(lambda: parallelism, lambda setting: setting.default)


def taken(jobs: OpenJobs) -> list[str]:
    found = []
    while (one := jobs.take()) is not None:
        found.append(str(one.id))
    return found


def test_jobs_have_their_turn_in_the_order_in_which_they_came() -> None:
    jobs = opened(parallelism=1)
    first, second = job("a", Use(uuid="1")), job("b", Use(uuid="2"))
    jobs.enter(first, 5.0)
    jobs.enter(second, 6.0)

    assert (jobs.oldest, jobs.waiting, dict(jobs.waiting_by_api)) == (first, 2, {"Use": 2})
    assert taken(jobs) == ["a"]
    assert (jobs.oldest, second.since) == (second, 6.0)
    jobs.leave(first)
    jobs.leave(first)
    assert taken(jobs) == ["b"]
    jobs.ended(first)
    assert (list(jobs), jobs.get(JobId("a"))) == ([second], None)


def test_job_that_had_begun_has_a_place_at_once_beyond_all_limits() -> None:
    jobs = opened(parallelism=1)
    left = [job(name, Use(uuid=name), begun=True) for name in "ab"]
    for one in left:
        jobs.enter(one, 0.0)
    jobs.enter(job("c", Use(uuid="c")), 0.0)

    assert taken(jobs) == []
    for one in left:
        assert not jobs.withdraw(one)
        jobs.leave(one)
    assert taken(jobs) == ["c"]


@pytest.mark.parametrize("use", [Use(uuid=NEW), Use(uuid="other", with_uuids=["1", NEW])])
def test_job_that_names_what_is_being_made_waits_for_the_end_of_that(use: Use) -> None:
    jobs = opened()
    creation, follower = job("make", Make(resource_uuid=NEW)), job("use", use)
    jobs.enter(creation, 0.0)
    jobs.enter(follower, 0.0)
    assert taken(jobs) == ["make"]

    jobs.leave(creation)
    jobs.ended(creation)

    assert taken(jobs) == ["use"]
    jobs.enter(job("later", use), 0.0)
    assert taken(jobs) == ["later"]


def test_job_that_waits_for_two_creations_begins_after_both() -> None:
    jobs = opened()
    creations = [job(name, Make(resource_uuid=name * 32)) for name in "ab"]
    for one in creations:
        jobs.enter(one, 0.0)
    jobs.enter(job("use", Use(uuid="a" * 32, with_uuids=["b" * 32])), 0.0)
    taken(jobs)
    begun = []
    for one in creations:
        jobs.leave(one)
        jobs.ended(one)
        begun.append(taken(jobs))

    assert begun == [[], ["use"]]


@pytest.mark.parametrize("name", ["waiting", "following"])
def test_withdrawn_job_waits_for_nothing_any_more(name: str) -> None:
    jobs = opened(parallelism=1)
    creation = job("make", Make(resource_uuid=NEW))
    others = {"waiting": job("waiting", Use(uuid="1")), "following": job("following", Use(uuid=NEW))}
    for one in (creation, *others.values()):
        jobs.enter(one, 0.0)
    taken(jobs)

    assert jobs.withdraw(others[name])
    assert not jobs.withdraw(others[name])
    jobs.ended(others.pop(name))
    jobs.leave(creation)
    jobs.ended(creation)

    assert taken(jobs) == list(others)


def test_backlog_counts_what_is_open_and_what_may_become_so() -> None:
    jobs = OpenJobs(lambda: 1, lambda setting: 1 if setting is BACKLOG_ACCOUNT else setting.default)
    call = cast("ApiCommand[object]", Use(uuid="1"))
    jobs.check(call, "alice", admin=False)
    with jobs.entering("alice"), pytest.raises(CairnError, match=r"job\.backlog-full"):
        jobs.check(call, "alice", admin=False)
    one = job("a", Use(uuid="1"))
    jobs.enter(one, 0.0)
    jobs.enter(one, 0.0)
    with pytest.raises(CairnError, match=r"job\.backlog-full"):
        jobs.check(call, "alice", admin=False)
    jobs.check(call, "bob", admin=False)
    jobs.ended(one)
    jobs.check(call, "alice", admin=False)


async def test_who_waits_for_a_job_is_woken_by_its_end_or_after_a_while() -> None:
    clock, jobs = VirtualClock(), opened()
    one = job("a", Use(uuid="1"))
    jobs.enter(one, 0.0)
    short = asyncio.create_task(one.wait(clock, 5.0))
    long = asyncio.create_task(one.wait(clock, 50.0))
    await clock.advance(5.0)
    done = (short.done(), long.done())

    jobs.ended(one)
    await clock.settle()

    assert done == (True, False)
    assert long.done()
    assert not one.waiters


class Woken:
    def __init__(self) -> None:
        self.times = 0
        self.ended: Job | None = None

    def wake(self, ended: Job | None = None) -> None:
        self.times += 1
        self.ended = ended


@pytest.mark.parametrize("count", [1, 2, 5])
def test_all_who_watch_a_job_are_woken_once_and_nobody_who_left(count: int) -> None:
    one = job("a", Use(uuid="1"))
    waiters = [Woken() for _ in range(count)]
    left = Woken()
    for waiter in [*waiters, left]:
        one.watch(waiter)
    one.unwatch(left)
    one.unwatch(left)

    one.wake()
    one.wake()

    assert [waiter.times for waiter in waiters] == [1] * count
    assert left.times == 0


def test_job_held_up_abroad_has_its_turn_only_after_it_has_arrived() -> None:
    jobs = opened()
    one = job("a", Make(resource_uuid="1"))
    one.abroad = True
    jobs.enter(one, 5.0)
    assert taken(jobs) == []

    jobs.arrived(one, 6.0)
    jobs.arrived(one, 7.0)

    assert taken(jobs) == ["a"]


def test_job_held_up_abroad_can_be_withdrawn() -> None:
    jobs = opened()
    one = job("a", Use(uuid="1"))
    one.abroad = True
    jobs.enter(one, 5.0)

    assert jobs.withdraw(one)
    jobs.arrived(one, 6.0)

    assert taken(jobs) == []


def test_those_who_waited_for_a_creation_that_goes_to_another_node_are_told() -> None:
    jobs = opened()
    creation, use = job("a", Make(resource_uuid="1")), job("b", Use(uuid="1"))
    jobs.enter(creation, 5.0)
    jobs.enter(use, 6.0)

    jobs.gone(creation)

    assert jobs.let_go(creation) == [use]
    assert jobs.let_go(creation) == []
