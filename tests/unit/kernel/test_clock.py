from __future__ import annotations

import asyncio
from datetime import UTC

from cairn.kernel.clock import SystemClock


async def test_system_clock_is_the_machine_s() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    called = asyncio.Event()

    clock.call_later(0.0, called.set)
    await clock.sleep(0.0)
    await called.wait()

    assert clock.monotonic() >= before
    assert clock.now().tzinfo is UTC


async def test_cancelled_call_is_not_made() -> None:
    clock = SystemClock()
    calls: list[str] = []

    timer = clock.call_later(0.0, lambda: calls.append("made"))
    timer.cancel()
    timer.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert calls == []
