from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import ClassVar

import pytest
from msgspec import Struct

from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.context import CallContext, current, entered
from cairn.kernel.bus.message import Command, Query
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.ids import JobId
from cairn.kernel.log import LogForm, configure
from cairn.testing.clock import VirtualClock


class Cup(Struct, frozen=True):
    grams: int


class BrewTea(Command[Cup], frozen=True, kw_only=True, tag="tea.brew"):
    route: ClassVar[str | None] = "pot"
    pot: str = "pot"
    seconds: float = 0.0


class PourTea(Command[None], frozen=True, kw_only=True, tag="tea.pour"):
    pass


class TasteTea(Query[Cup], frozen=True, kw_only=True, tag="tea.taste"):
    pass


@pytest.fixture
def log_lines() -> Iterator[Callable[[], list[dict[str, object]]]]:
    stream = io.StringIO()
    configure(stream, "info", LogForm.JSON)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    configure(level="warning")


def raises(error: BaseException) -> Callable[[object], Awaitable[None]]:
    async def handler(_: object) -> None:
        raise error

    return handler


async def error_of(work: Awaitable[object]) -> CairnError:
    with pytest.raises(CairnError) as caught:
        await work
    return caught.value


async def test_handler_gets_the_very_message_and_its_answer_comes_back(bus: Bus) -> None:
    message = BrewTea()
    cup = Cup(200)
    seen: list[BrewTea] = []

    async def brew(asked: BrewTea) -> Cup:
        seen.append(asked)
        return cup

    bus.register(BrewTea, brew)
    assert await bus.call(message) is cup
    assert seen[0] is message
    assert bus.handles(BrewTea)
    assert not bus.handles(PourTea)


async def test_second_handler_for_a_message_is_refused_and_both_are_named(bus: Bus) -> None:
    async def one(_: PourTea) -> None: ...
    async def other(_: PourTea) -> None: ...

    bus.register(PourTea, one)
    with pytest.raises(
        CairnError, match=r"tea\.pour is handled by .*one already, so .*other cannot handle it"
    ) as caught:
        bus.register(PourTea, other)
    assert caught.value.code == "bus.handler-twice"


async def test_message_that_nobody_handles_is_answered(bus: Bus) -> None:
    error = await error_of(bus.call(PourTea()))
    assert (error.code, error.kind) == ("bus.no-handler", ErrorKind.UNAVAILABLE)


async def test_error_of_the_handler_passes_through_unchanged(bus: Bus) -> None:
    empty = CairnError("tea.empty", "The pot is empty; brew first.")
    bus.register(PourTea, raises(empty))
    assert await error_of(bus.call(PourTea())) is empty


async def test_unexpected_exception_is_logged_with_trace_and_answered_as_bug(
    bus: Bus, log_lines: Callable[[], list[dict[str, object]]]
) -> None:
    bus.register(PourTea, raises(ZeroDivisionError("no water")))
    with entered(CallContext(job=JobId("job-7"), stack=("outer",))):
        error = await error_of(bus.call(PourTea()))
    assert (error.code, error.kind) == ("internal.bug", ErrorKind.INTERNAL)
    line = log_lines()[0]
    assert line["event"] == "bus.handler-failed"
    assert (line["job"], line["task"]) == ("job-7", "outer > tea.pour")
    assert "ZeroDivisionError: no water" in str(line["exception"])
    assert "Traceback" in str(line["exception"])


async def test_wrong_type_of_answer_is_answered_as_bug(bus: Bus) -> None:
    async def brew(_: BrewTea) -> str:
        return "tea"

    bus.register(BrewTea, brew)
    error = await error_of(bus.call(BrewTea()))
    assert error.code == "internal.bug"
    assert "answered str, not Cup" in str(error)


async def test_errors_of_one_task_group_count_as_the_handlers_own(bus: Bus) -> None:
    empty = CairnError("tea.empty", "The pot is empty; brew first.")

    async def pour(_: PourTea) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(raise_it())

    async def raise_it() -> None:
        raise empty

    bus.register(PourTea, pour)
    assert await error_of(bus.call(PourTea())) is empty


async def test_handler_that_awaits_something_cancelled_still_answers(bus: Bus) -> None:
    async def pour(_: PourTea) -> None:
        stranger = asyncio.create_task(asyncio.sleep(60))
        stranger.cancel()
        await stranger

    bus.register(PourTea, pour)
    error = await error_of(bus.call(PourTea()))
    assert (error.code, error.kind) == ("bus.work-cancelled", ErrorKind.CANCELLED)


async def test_passed_deadline_cancels_the_work(bus: Bus, clock: VirtualClock) -> None:
    ended: list[float] = []

    async def pour(_: PourTea) -> None:
        try:
            await clock.sleep(60)
        finally:
            ended.append(clock.monotonic())

    bus.register(PourTea, pour)
    error = await error_of(clock.run(bus.call(PourTea(), timeout_seconds=30)))
    assert (error.code, error.kind) == ("bus.deadline-passed", ErrorKind.TIMEOUT)
    assert ended == [30.0]


async def test_error_raised_while_cleaning_up_after_the_deadline_is_the_cause(bus: Bus, clock: VirtualClock) -> None:
    async def pour(_: PourTea) -> None:
        try:
            await clock.sleep(60)
        except asyncio.CancelledError:
            raise CairnError("tea.spilled", "Half of it is on the table; wipe it up.") from None

    bus.register(PourTea, pour)
    error = await error_of(clock.run(bus.call(PourTea(), timeout_seconds=30)))
    assert error.code == "bus.deadline-passed"
    assert error.cause is not None
    assert error.cause.code == "tea.spilled"


async def test_nested_calls_inherit_the_deadline_and_can_only_shrink_it(bus: Bus, clock: VirtualClock) -> None:
    seen: list[float | None] = []

    async def brew(message: BrewTea) -> Cup:
        seen.append(current().deadline)
        return Cup(1)

    async def pour(_: PourTea) -> None:
        await bus.call(BrewTea())
        await bus.call(BrewTea(), timeout_seconds=5)
        await bus.call(BrewTea(), timeout_seconds=500)

    bus.register(BrewTea, brew)
    bus.register(PourTea, pour)
    await bus.call(PourTea(), timeout_seconds=30)
    assert seen == [30.0, 5.0, 30.0]


async def test_nested_deadline_ends_the_nested_call_alone(bus: Bus, clock: VirtualClock) -> None:
    codes: list[str] = []

    async def brew(_: BrewTea) -> Cup:
        await clock.sleep(60)
        return Cup(1)

    async def pour(_: PourTea) -> None:
        codes.append((await error_of(bus.call(BrewTea(), timeout_seconds=5))).code)
        await clock.sleep(1)

    bus.register(BrewTea, brew)
    bus.register(PourTea, pour)
    await clock.run(bus.call(PourTea(), timeout_seconds=30))
    assert codes == ["bus.deadline-passed"]
    assert clock.monotonic() == 6.0


async def test_deadline_that_came_with_the_context_cancels_the_work(bus: Bus, clock: VirtualClock) -> None:
    async def pour(_: PourTea) -> None:
        await clock.sleep(60)

    bus.register(PourTea, pour)
    with entered(CallContext(deadline=7.0)):
        error = await error_of(clock.run(bus.call(PourTea())))
    assert error.code == "bus.deadline-passed"
    assert clock.monotonic() == 7.0


async def test_parallel_nested_calls_end_at_the_inherited_deadline(bus: Bus, clock: VirtualClock) -> None:
    async def brew(_: BrewTea) -> Cup:
        await clock.sleep(60)
        return Cup(1)

    async def pour(_: PourTea) -> None:
        await asyncio.gather(*(bus.call(BrewTea()) for _ in range(3)))

    bus.register(BrewTea, brew)
    bus.register(PourTea, pour)
    error = await error_of(clock.run(bus.call(PourTea(), timeout_seconds=30)))
    assert error.code == "bus.deadline-passed"
    assert clock.monotonic() == 30.0


async def test_call_after_its_deadline_is_answered_at_once_and_not_handled(bus: Bus, clock: VirtualClock) -> None:
    bus.register(PourTea, raises(AssertionError("must not run")))
    await clock.advance(10)
    with entered(CallContext(deadline=10.0)):
        assert (await error_of(bus.call(PourTea()))).code == "bus.deadline-passed"


async def test_clean_up_under_a_fresh_deadline_is_watched_again(bus: Bus, clock: VirtualClock) -> None:
    codes: list[str] = []

    async def brew(_: BrewTea) -> Cup:
        await clock.sleep(600)
        return Cup(1)

    async def pour(_: PourTea) -> None:
        try:
            await clock.sleep(60)
        finally:
            with entered(CallContext(deadline=clock.monotonic() + 20)):
                codes.append((await error_of(bus.call(BrewTea()))).code)

    bus.register(BrewTea, brew)
    bus.register(PourTea, pour)
    assert (await error_of(clock.run(bus.call(PourTea(), timeout_seconds=30)))).code == "bus.deadline-passed"
    assert codes == ["bus.deadline-passed"]
    assert clock.monotonic() == 50.0


async def test_without_any_deadline_the_default_holds(bus: Bus, clock: VirtualClock) -> None:
    async def pour(_: PourTea) -> None:
        await clock.sleep(1e6)

    bus.register(PourTea, pour)
    assert (await error_of(clock.run(bus.call(PourTea())))).code == "bus.deadline-passed"
    assert clock.monotonic() == 1800.0


async def test_cancelled_caller_cancels_the_handler(bus: Bus, clock: VirtualClock) -> None:
    ended: list[bool] = []

    async def pour(_: PourTea) -> None:
        try:
            await clock.sleep(60)
        finally:
            ended.append(True)

    bus.register(PourTea, pour)
    task = asyncio.create_task(bus.call(PourTea(), timeout_seconds=30))
    await clock.settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]


async def test_handler_runs_in_a_child_context_and_the_callers_is_restored(bus: Bus) -> None:
    seen: list[CallContext] = []

    async def brew(_: BrewTea) -> Cup:
        seen.append(current())
        return Cup(1)

    async def pour(_: PourTea) -> None:
        await bus.call(BrewTea())

    bus.register(BrewTea, brew)
    bus.register(PourTea, pour)
    with entered(CallContext(job=JobId("job"), stack=("job",), actor="account")) as outer:
        await bus.call(PourTea())
        assert current() is outer
    assert seen[0].stack == ("job", "tea.pour", "tea.brew")
    assert (seen[0].job, seen[0].actor) == ("job", "account")


async def test_calls_are_counted_by_message_and_outcome(bus: Bus) -> None:
    async def taste(_: TasteTea) -> Cup:
        return Cup(1)

    bus.register(TasteTea, taste)
    bus.register(PourTea, raises(CairnError("tea.empty", "Brew first.")))
    await bus.call(TasteTea())
    await bus.call(TasteTea())
    await error_of(bus.call(PourTea()))
    text = bus.metrics.render().decode()
    assert 'cairn_message_seconds_count{message="tea.taste",outcome="ok"} 2.0' in text
    assert 'cairn_message_seconds_count{message="tea.pour",outcome="error"} 1.0' in text


async def test_stopped_bus_answers_that_it_is_stopped(bus: Bus) -> None:
    bus.register(PourTea, raises(AssertionError("must not run")))
    await bus.stop()
    error = await error_of(bus.call(PourTea()))
    assert (error.code, error.kind) == ("bus.stopped", ErrorKind.UNAVAILABLE)


async def test_thirty_thousand_calls_open_at_once_are_all_answered_at_their_deadline(
    bus: Bus, clock: VirtualClock
) -> None:
    async def pour(_: PourTea) -> None:
        await clock.sleep(1e6)

    bus.register(PourTea, pour)
    calls = [asyncio.create_task(bus.call(PourTea(), timeout_seconds=30)) for _ in range(30_000)]
    await clock.advance(31)
    assert all(call.done() for call in calls)
    assert {getattr(call.exception(), "code", None) for call in calls} == {"bus.deadline-passed"}
