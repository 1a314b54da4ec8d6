from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cairn.kernel.bus.context import CallContext, entered
from cairn.kernel.bus.deadline import DeadlineWheel, limit
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.ids import JobId
from cairn.kernel.metrics import Metrics
from cairn.kernel.queue import QueueEntry, QueueReport, ResourceQueues, kind_of, queue_key
from cairn.testing.clock import VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def queues(clock: VirtualClock, metrics: Metrics) -> ResourceQueues:
    return ResourceQueues(clock, metrics)


class Diary:
    """Writes down when work begins and ends."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.lines: list[str] = []
        self.tasks: list[asyncio.Task[str]] = []

    def start(self, run: Coroutine[Any, Any, str]) -> None:
        """Let it run beside the test."""
        self.tasks.append(asyncio.create_task(run))

    def work(self, name: str, seconds: float = 10.0) -> Callable[[], Awaitable[str]]:
        async def run() -> str:
            self.lines.append(f"{name} begins at {self.clock.monotonic():g}")
            await self.clock.sleep(seconds)
            self.lines.append(f"{name} ends at {self.clock.monotonic():g}")
            return name

        return run


@pytest.fixture
def diary(clock: VirtualClock) -> Diary:
    return Diary(clock)


async def error_of(work: Awaitable[object]) -> CairnError:
    with pytest.raises(CairnError) as caught:
        await work
    return caught.value


async def test_work_on_one_key_runs_one_after_another_in_order(
    queues: ResourceQueues, clock: VirtualClock, diary: Diary
) -> None:
    runs = [asyncio.create_task(queues.run("vm:1", diary.work(name), name=name)) for name in "abc"]
    await clock.advance(100)
    assert [run.result() for run in runs] == ["a", "b", "c"]
    assert diary.lines == [
        "a begins at 0",
        "a ends at 10",
        "b begins at 10",
        "b ends at 20",
        "c begins at 20",
        "c ends at 30",
    ]


async def test_keys_do_not_wait_for_each_other(queues: ResourceQueues, clock: VirtualClock, diary: Diary) -> None:
    for key in ("vm:1", "vm:2"):
        diary.start(queues.run(key, diary.work(key), name=key))
    await clock.advance(10)
    assert diary.lines[:2] == ["vm:1 begins at 0", "vm:2 begins at 0"]


async def test_changed_parallelism_takes_effect_at_once(
    queues: ResourceQueues, clock: VirtualClock, diary: Diary
) -> None:
    places = 1
    for name in "abcde":
        diary.start(queues.run("host:1", diary.work(name), name=name, parallelism=lambda: places))
    await clock.advance(1)
    assert diary.lines == ["a begins at 0"]
    places = 3
    queues.changed("host:")
    await clock.advance(1)
    assert diary.lines == ["a begins at 0", "b begins at 1", "c begins at 1"]
    places = 1
    await clock.advance(8.5)
    assert diary.lines[3:] == ["a ends at 10"]
    await clock.advance(1)
    assert diary.lines[4:] == ["b ends at 11", "c ends at 11", "d begins at 11"]


async def test_parallelism_below_one_counts_as_one(queues: ResourceQueues) -> None:
    async def work() -> int:
        return 7

    assert await queues.run("vm:1", work, name="work", parallelism=0) == 7


def ask(queues: ResourceQueues, diary: Diary, actor: str | None, name: str, seconds: float, places: int = 10) -> None:
    """Let an account's work wait in a queue of `places`."""
    with entered(CallContext(actor=actor)):
        diary.start(queues.run("host:1", diary.work(name, seconds), name=name, parallelism=lambda: places))


async def test_account_s_slow_work_leaves_places_of_a_shared_queue_to_others(
    queues: ResourceQueues, clock: VirtualClock, diary: Diary
) -> None:
    for number in range(30):
        ask(queues, diary, "mallory", f"slow {number}", 60)
    await clock.advance(1)
    for number in range(4):
        ask(queues, diary, "alice", f"quick {number}", 1)

    await clock.advance(2)

    assert len([line for line in diary.lines if line.startswith("slow")]) == 8
    assert [line for line in diary.lines if "quick" in line and "begins" in line] == [
        f"quick {number} begins at {1 + number // 2}" for number in range(4)
    ]
    await clock.advance(600)


async def test_accounts_take_turns_in_a_shared_queue(queues: ResourceQueues, clock: VirtualClock, diary: Diary) -> None:
    for name in ("a1", "a2", "a3", "b1", "b2", "c1"):
        ask(queues, diary, name[0], name, 1, places=1)

    await clock.advance(10)

    begun = [line.split()[0] for line in diary.lines if "begins" in line]
    assert begun == ["a1", "b1", "c1", "a2", "b2", "a3"]


async def test_the_cloud_s_own_work_is_held_to_no_share(
    queues: ResourceQueues, clock: VirtualClock, diary: Diary
) -> None:
    for number in range(10):
        ask(queues, diary, None, f"own {number}", 1)

    await clock.advance(1)

    assert sum("begins at 0" in line for line in diary.lines) == 10


async def test_queue_of_one_resource_keeps_the_order_of_arrival_whoever_asks(
    queues: ResourceQueues, clock: VirtualClock, diary: Diary
) -> None:
    for name in ("a1", "a2", "b1"):
        with entered(CallContext(actor=name[0])):
            diary.start(queues.run("vm:1", diary.work(name, 1), name=name))

    await clock.advance(10)

    assert [line.split()[0] for line in diary.lines if "begins" in line] == ["a1", "a2", "b1"]


async def test_waiting_entry_is_answered_when_its_own_deadline_passes(
    queues: ResourceQueues, clock: VirtualClock, diary: Diary
) -> None:
    diary.start(queues.run("vm:1", diary.work("a", 60), name="a"))
    await clock.settle()
    error = await error_of(clock.run(queues.run("vm:1", diary.work("b"), name="b", timeout_seconds=5)))
    assert (error.code, error.kind) == ("queue.deadline-passed", ErrorKind.TIMEOUT)
    assert "In the queue 'vm:1', running there: a." in str(error.operator)
    assert "vm:1" not in error.message
    assert clock.monotonic() == 5.0
    await clock.advance(100)
    assert diary.lines == ["a begins at 0", "a ends at 60"]


async def test_waiting_entry_is_answered_when_the_contexts_deadline_passes(
    queues: ResourceQueues, clock: VirtualClock, diary: Diary
) -> None:
    diary.start(queues.run("vm:1", diary.work("a", 60), name="a"))
    await clock.settle()
    with entered(CallContext(deadline=5.0)):
        error = await error_of(clock.run(queues.run("vm:1", diary.work("b"), name="b", timeout_seconds=50)))
    assert error.code == "queue.deadline-passed"
    assert clock.monotonic() == 5.0


async def test_waiting_under_a_watched_deadline_says_where_it_waited(
    queues: ResourceQueues, clock: VirtualClock, diary: Diary
) -> None:
    diary.start(queues.run("vm:1", diary.work("a", 60), name="a"))
    await clock.settle()
    with entered(CallContext(deadline=5.0)):
        waiting = queues.run("vm:1", diary.work("b"), name="b")
        error = await error_of(clock.run(limit(DeadlineWheel(clock), 5.0, "vm.start", waiting)))
    assert error.code == "bus.deadline-passed"
    assert error.cause is not None
    assert error.cause.code == "queue.deadline-passed"
    await clock.advance(100)
    assert queues.inspect() == []


async def test_waiting_without_any_deadline_ends_at_the_default(
    queues: ResourceQueues, clock: VirtualClock, diary: Diary
) -> None:
    diary.start(queues.run("vm:1", diary.work("a", 1e6), name="a"))
    await clock.settle()
    assert (await error_of(clock.run(queues.run("vm:1", diary.work("b"), name="b")))).code == "queue.deadline-passed"
    assert clock.monotonic() == 1800.0


async def test_cancelled_waiting_entry_leaves_and_the_next_has_its_turn(
    queues: ResourceQueues, clock: VirtualClock, diary: Diary
) -> None:
    runs = [asyncio.create_task(queues.run("vm:1", diary.work(name), name=name)) for name in "abc"]
    await clock.advance(1)
    runs[1].cancel()
    await clock.advance(100)
    assert runs[1].cancelled()
    assert diary.lines == ["a begins at 0", "a ends at 10", "c begins at 10", "c ends at 20"]


async def test_entry_cancelled_in_the_moment_of_its_turn_passes_it_on(queues: ResourceQueues) -> None:
    go = asyncio.Event()
    done: list[str] = []

    async def first() -> None:
        await go.wait()
        asyncio.get_running_loop().call_soon(runs[1].cancel)  # runs after the turn was given, before it is taken

    async def second() -> None:
        done.append("second")

    async def third() -> None:
        done.append("third")

    runs = [asyncio.create_task(queues.run("vm:1", each, name="each")) for each in (first, second, third)]
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(*runs, return_exceptions=True)
    assert runs[1].cancelled()
    assert done == ["third"]
    assert queues.inspect() == []


async def test_raising_work_frees_its_place(queues: ResourceQueues, clock: VirtualClock, diary: Diary) -> None:
    async def fails() -> None:
        await clock.sleep(1)
        raise ZeroDivisionError

    failing = asyncio.create_task(queues.run("vm:1", fails, name="fails"))
    following = asyncio.create_task(queues.run("vm:1", diary.work("b"), name="b"))
    await clock.advance(11)
    assert isinstance(failing.exception(), ZeroDivisionError)
    assert following.result() == "b"


async def test_asking_for_a_key_that_is_held_names_both_and_does_not_hang(queues: ResourceQueues) -> None:
    async def inner() -> None: ...

    async def between() -> None:
        await queues.run("volume:1", lambda: queues.run("vm:1", inner, name="stop vm"), name="detach volume")

    error = await error_of(queues.run("vm:1", between, name="destroy vm"))
    assert (error.code, error.kind) == ("queue.would-deadlock", ErrorKind.INTERNAL)
    assert error.details == {"key": "vm:1", "holds": "destroy vm", "asks": "stop vm"}
    assert queues.inspect() == []


async def test_tasks_of_the_work_count_as_the_work(queues: ResourceQueues) -> None:
    async def inner() -> None: ...

    async def work() -> None:
        await asyncio.gather(queues.run("vm:1", inner, name="inner"))

    assert (await error_of(queues.run("vm:1", work, name="outer"))).code == "queue.would-deadlock"


async def test_task_that_outlives_the_work_may_ask_again(queues: ResourceQueues, clock: VirtualClock) -> None:
    later: list[asyncio.Task[str]] = []

    async def inner() -> str:
        return "done"

    async def afterwards() -> str:
        await clock.sleep(1)
        return await queues.run("vm:1", inner, name="inner")

    async def work() -> None:
        later.append(asyncio.create_task(afterwards()))

    await queues.run("vm:1", work, name="outer")
    await clock.advance(1)
    assert later[0].result() == "done"


async def test_job_started_by_the_work_waits_for_its_turn(
    queues: ResourceQueues, clock: VirtualClock, diary: Diary
) -> None:
    async def work() -> None:
        with entered(CallContext(job=JobId("another"))):
            diary.start(queues.run("vm:1", diary.work("job"), name="job"))
        await clock.sleep(1)

    await clock.run(queues.run("vm:1", work, name="outer"))
    await clock.advance(10)
    assert diary.lines == ["job begins at 1", "job ends at 11"]


async def test_inspect_shows_who_runs_and_who_waits_since_when(
    queues: ResourceQueues, clock: VirtualClock, diary: Diary
) -> None:
    diary.start(queues.run("vm:1", diary.work("a"), name="start"))
    await clock.advance(2)
    with entered(CallContext(job=JobId("job-7"))):
        diary.start(queues.run("vm:1", diary.work("b"), name="stop"))
    diary.start(queues.run("host:1", diary.work("c"), name="ping", parallelism=lambda: 10))
    await clock.advance(1)
    assert queues.inspect("vm:") == [
        QueueReport(
            key="vm:1",
            parallelism=1,
            running=[QueueEntry(name="start", job=None, seconds=3.0)],
            waiting=[QueueEntry(name="stop", job=JobId("job-7"), seconds=1.0)],
        )
    ]
    assert [report.parallelism for report in queues.inspect("host:")] == [10]


async def test_empty_queues_are_forgotten(queues: ResourceQueues, clock: VirtualClock, diary: Diary) -> None:
    runs = [asyncio.create_task(queues.run(f"vm:{n % 10}", diary.work("x"), name="x")) for n in range(100)]
    await clock.advance(1000)
    assert all(run.done() for run in runs)
    assert queues.inspect() == []


async def test_metrics_show_lengths_by_kind(
    queues: ResourceQueues, clock: VirtualClock, metrics: Metrics, diary: Diary
) -> None:
    for key in ("vm:1", "vm:1", "vm:2", "zone-list"):
        diary.start(queues.run(key, diary.work("x"), name="x"))
    await clock.settle()
    text = metrics.render().decode()
    assert 'cairn_queue_running{kind="vm"} 2.0' in text
    assert 'cairn_queue_waiting{kind="vm"} 1.0' in text
    assert 'cairn_queue_running{kind="other"} 1.0' in text
    await clock.advance(100)
    assert 'cairn_queue_wait_seconds_sum{kind="vm"} 10.0' in metrics.render().decode()


def test_key_is_of_its_kind() -> None:
    assert queue_key("host-agent", "1") == "host-agent:1"
    assert kind_of(queue_key("host-agent", "1")) == "host-agent"


def test_kind_is_what_stands_before_the_colon() -> None:
    assert (kind_of("primary-storage:1"), kind_of("zone-list")) == ("primary-storage", "other")


class Plan:
    """One entry of a random run, and what became of it."""

    def __init__(self, start: float, seconds: float, timeout: float, cancel: float | None, *, fails: bool) -> None:
        self.start, self.seconds, self.timeout, self.cancel, self.fails = start, seconds, timeout, cancel, fails
        self.began: int | None = None
        self.task: asyncio.Task[str] | None = None


plans = st.builds(
    Plan,
    start=st.integers(0, 20).map(lambda n: n / 2),
    seconds=st.integers(0, 20).map(lambda n: n / 2 + 0.1),
    timeout=st.integers(0, 60).map(lambda n: n / 2 + 0.3),
    cancel=st.none() | st.integers(0, 30).map(lambda n: n / 2 + 0.2),
    fails=st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(plans, max_size=15),
    st.integers(1, 3),
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 4)), max_size=4),
)
def test_never_more_than_n_in_order_and_everyone_is_answered(
    plans: list[Plan], places: int, changes: list[tuple[int, int]]
) -> None:
    asyncio.run(_run_plans(plans, places, changes))


async def _run_plans(plans: list[Plan], places: int, changes: list[tuple[int, int]]) -> None:
    clock = VirtualClock()
    queues = ResourceQueues(clock, Metrics())
    running: set[int] = set()
    begun: list[int] = []
    asked: list[int] = []

    def change(number: int) -> None:
        nonlocal places
        places = number
        queues.changed("vm:")

    async def one(number: int, plan: Plan) -> str:
        async def work() -> str:
            assert not running or len(running) < places
            running.add(number)
            begun.append(number)
            try:
                await clock.sleep(plan.seconds)
                if plan.fails:
                    raise ZeroDivisionError
                return "done"
            finally:
                running.discard(number)

        asked.append(number)
        return await queues.run(
            "vm:1", work, name=str(number), parallelism=lambda: places, timeout_seconds=plan.timeout
        )

    def cancel(task: asyncio.Task[str]) -> None:
        task.cancel()

    def begin(number: int, plan: Plan) -> None:
        task = plan.task = asyncio.create_task(one(number, plan))
        if plan.cancel is not None:
            clock.call_later(plan.cancel, lambda: cancel(task))

    for number, plan in enumerate(plans):
        clock.call_later(plan.start, lambda number=number, plan=plan: begin(number, plan))  # type: ignore[misc]
    for at, new_places in changes:
        clock.call_later(at, lambda new_places=new_places: change(new_places))  # type: ignore[misc]
    await clock.advance(1000)

    assert begun == [number for number in asked if number in set(begun)]
    assert queues.inspect() == []
    for number, plan in enumerate(plans):
        assert plan.task is not None
        assert plan.task.done()
        if plan.task.cancelled():
            continue
        error = plan.task.exception()
        if number in begun:
            assert isinstance(error, ZeroDivisionError) if plan.fails else plan.task.result() == "done"
        else:
            assert isinstance(error, CairnError)
            assert error.code == "queue.deadline-passed"


async def test_a_kept_place_holds_back_the_others_until_it_is_left(
    queues: ResourceQueues, clock: VirtualClock, diary: Diary
) -> None:
    place = queues.keep("vm:1", name="start", job=None)
    diary.start(queues.run("vm:1", diary.work("next", 1), name="next"))
    await clock.settle()
    assert diary.lines == []
    assert await clock.run(place.run(diary.work("kept", 2))) == "kept"
    await clock.settle()
    assert diary.lines == ["kept begins at 0", "kept ends at 2"]

    place.leave()
    place.leave()
    await clock.advance(1)

    assert diary.lines[2:] == ["next begins at 2", "next ends at 3"]
    assert queues.inspect() == []


async def test_places_are_kept_beyond_the_parallelism(queues: ResourceQueues) -> None:
    places = [queues.keep("host:1", name=name, job=None) for name in ("a", "b")]
    assert [entry.name for entry in queues.inspect()[0].running] == ["a", "b"]
    for place in places:
        place.leave()
    assert queues.inspect() == []


@pytest.mark.parametrize("shared_before", [False, True])
async def test_kept_places_of_a_shared_queue_count_in_their_account_s_share(
    queues: ResourceQueues, clock: VirtualClock, diary: Diary, shared_before: bool
) -> None:
    if shared_before:
        ask(queues, diary, "alice", "first", 5, places=4)
        await clock.settle()
    places = [queues.keep("host:1", name=f"kept {n}", job=None, actor="mallory") for n in range(2)]
    for number in range(3):
        ask(queues, diary, "mallory", f"slow {number}", 60, places=4)
    ask(queues, diary, "alice", "quick", 60, places=4)
    await clock.advance(10)

    begun = [line.rsplit(" at ")[0] for line in diary.lines if "begins" in line and "first" not in line]
    assert begun == ["slow 0 begins", "quick begins"]  # mallory has three of the four places, two of them kept

    for place in places:
        place.leave()
    await clock.settle()

    assert [line.rsplit(" at ")[0] for line in diary.lines[-2:]] == ["slow 1 begins", "slow 2 begins"]
    await clock.advance(200)
    assert queues.inspect() == []


async def test_accounts_take_turns_as_soon_as_a_queue_is_shared_with_all_that_waits_there(
    queues: ResourceQueues, clock: VirtualClock, diary: Diary
) -> None:
    place = queues.keep("host:1", name="kept", job=None, actor="a")
    for name in ("a1", "a2"):
        with entered(CallContext(actor="a")):
            diary.start(queues.run("host:1", diary.work(name, 1), name=name))
    await clock.settle()
    for name in ("a3", "b1", "b2"):
        ask(queues, diary, name[0], name, 1, places=1)
    await clock.settle()
    diary.tasks[1].cancel()
    place.leave()
    await clock.advance(10)

    assert [line.split()[0] for line in diary.lines if "begins" in line] == ["b1", "a1", "b2", "a3"]
    assert queues.inspect() == []


async def test_work_that_names_no_number_of_places_leaves_them_as_they_are(
    queues: ResourceQueues, clock: VirtualClock, diary: Diary
) -> None:
    ask(queues, diary, "a", "first", 10, places=3)
    diary.start(queues.run("host:1", diary.work("second"), name="second"))
    ask(queues, diary, "a", "third", 10, places=3)
    diary.start(queues.run("vm:1", diary.work("one"), name="one"))
    diary.start(queues.run("vm:1", diary.work("other"), name="other"))
    await clock.settle()

    assert {report.key: (report.parallelism, len(report.running)) for report in queues.inspect()} == {
        "host:1": (3, 3),
        "vm:1": (1, 1),
    }
    await clock.advance(30)


async def test_work_in_a_kept_place_must_not_ask_for_its_own_queue(queues: ResourceQueues, clock: VirtualClock) -> None:
    place = queues.keep("vm:1", name="start", job=None)

    async def inner() -> str:
        return await queues.run("vm:1", lambda: asyncio.sleep(0, "never"), name="inner")

    error = await error_of(clock.run(place.run(inner)))
    assert error.code == "queue.would-deadlock"
