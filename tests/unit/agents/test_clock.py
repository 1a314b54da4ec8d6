from __future__ import annotations

import asyncio

from cairn.agents.clock import Clock, SystemClock


def test_the_machines_time_never_goes_back() -> None:
    clock: Clock = SystemClock()
    before = clock.monotonic()
    assert clock.monotonic() >= before
    assert clock.time() > 1_700_000_000


async def test_sleeping_for_nothing_lets_others_run_once() -> None:
    ran: list[str] = []

    async def other() -> None:
        ran.append("other")

    task = asyncio.create_task(other())
    await SystemClock().sleep(0)
    assert ran == ["other"]
    await task
