from __future__ import annotations

import asyncio
import io
import json

import pytest

from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.context import CallContext, current, entered
from cairn.kernel.bus.message import Event
from cairn.kernel.ids import JobId
from cairn.kernel.log import LogForm, configure
from cairn.testing.clock import VirtualClock


class BellRang(Event, frozen=True, kw_only=True, tag="bell.rang"):
    times: int


class BellFell(Event, frozen=True, kw_only=True, tag="bell.fell"):
    pass


async def test_each_subscriber_hears_events_of_its_type_in_their_order(bus: Bus) -> None:
    rings: list[int] = []
    everything: list[Event] = []

    async def on_ring(event: BellRang) -> None:
        rings.append(event.times)

    async def on_any(event: Event) -> None:
        everything.append(event)

    bus.subscribe(BellRang, on_ring, "ringer")
    bus.subscribe(Event, on_any, "watcher")
    for times in range(3):
        await bus.publish(BellRang(times=times))
    await bus.publish(BellFell())
    await bus.settle()
    assert rings == [0, 1, 2]
    assert everything == [BellRang(times=0), BellRang(times=1), BellRang(times=2), BellFell()]


async def test_subscriber_whose_own_work_was_cancelled_hears_the_next_event(bus: Bus) -> None:
    heard: list[int] = []

    async def breaks_off(event: BellRang) -> None:
        heard.append(event.times)
        raise asyncio.CancelledError

    bus.subscribe(BellRang, breaks_off, "listener")
    for times in range(3):
        await bus.publish(BellRang(times=times))
    await bus.settle()
    assert heard == [0, 1, 2]


async def test_failing_subscriber_is_logged_by_name_and_disturbs_nobody(bus: Bus) -> None:
    heard: list[int] = []

    async def fails(event: BellRang) -> None:
        raise ZeroDivisionError("ding")

    async def hears(event: BellRang) -> None:
        heard.append(event.times)

    stream = io.StringIO()
    configure(stream, "info", LogForm.JSON)
    try:
        bus.subscribe(BellRang, fails, "the deaf one")
        bus.subscribe(BellRang, hears, "listener")
        with entered(CallContext(job=JobId("job-7"))):
            await bus.publish(BellRang(times=1))
            await bus.publish(BellRang(times=2))
        await bus.settle()
    finally:
        configure(level="warning")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert heard == [1, 2]
    assert [(line["subscriber"], line["message"], line["job"]) for line in lines] == [
        ("the deaf one", "bell.rang", "job-7")
    ] * 2
    assert "ZeroDivisionError: ding" in lines[0]["exception"]


async def test_slow_subscriber_holds_up_neither_the_publisher_nor_others(bus: Bus, clock: VirtualClock) -> None:
    heard: list[str] = []

    async def slow(_: BellRang) -> None:
        await clock.sleep(60)
        heard.append("slow")

    async def quick(_: BellRang) -> None:
        heard.append("quick")

    bus.subscribe(BellRang, slow, "slow")
    bus.subscribe(BellRang, quick, "quick")
    await bus.publish(BellRang(times=1))
    await clock.settle()
    assert heard == ["quick"]
    await clock.advance(60)
    assert heard == ["quick", "slow"]


async def test_subscriber_that_never_ends_is_ended_at_the_default_deadline(bus: Bus, clock: VirtualClock) -> None:
    heard: list[int] = []

    async def hangs_once(event: BellRang) -> None:
        heard.append(event.times)
        if event.times == 1:
            await clock.sleep(1e6)

    configure(io.StringIO())
    bus.subscribe(BellRang, hangs_once, "hanger")
    await bus.publish(BellRang(times=1))
    await bus.publish(BellRang(times=2))
    await clock.advance(1800)
    configure(level="warning")
    assert heard == [1, 2]


async def test_ended_subscription_hears_nothing_more(bus: Bus) -> None:
    heard: list[int] = []

    async def hears(event: BellRang) -> None:
        heard.append(event.times)

    end = bus.subscribe(BellRang, hears, "listener")
    await bus.publish(BellRang(times=1))
    await bus.settle()
    end()
    end()
    await bus.publish(BellRang(times=2))
    await bus.settle()
    assert heard == [1]


@pytest.mark.parametrize("deadline", [None, 5.0])
async def test_subscriber_runs_in_a_context_of_its_own(bus: Bus, deadline: float | None) -> None:
    seen: list[CallContext] = []

    async def hears(_: BellRang) -> None:
        seen.append(current())

    bus.subscribe(BellRang, hears, "listener")
    with entered(CallContext(job=JobId("job"), stack=("deep", "down"), deadline=deadline, actor="account")):
        await bus.publish(BellRang(times=1))
    await bus.settle()
    assert seen == [CallContext(job=JobId("job"), stack=("bell.rang", "listener"), deadline=1800.0, actor="account")]
