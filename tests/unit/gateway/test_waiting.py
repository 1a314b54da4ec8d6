from __future__ import annotations

import asyncio

import pytest

from cairn.gateway.waiting import Stopping, Waiting


async def forever() -> None:
    await asyncio.Event().wait()


async def at_once() -> int:
    return 5


async def test_result_comes_through() -> None:
    assert await Waiting().on(at_once()) == 5


async def test_stop_ends_waits_and_lets_no_more_begin() -> None:
    waiting = Waiting()
    wait = asyncio.ensure_future(waiting.on(forever()))
    await asyncio.sleep(0)

    waiting.stop()
    waiting.stop()

    with pytest.raises(Stopping):
        await wait
    with pytest.raises(Stopping):
        await waiting.on(at_once())
    assert len(waiting) == 0


async def test_cancelled_wait_cancels_its_work() -> None:
    waiting = Waiting()
    wait = asyncio.ensure_future(waiting.on(forever()))
    await asyncio.sleep(0)

    wait.cancel()

    with pytest.raises(asyncio.CancelledError):
        await wait
    assert len(waiting) == 0
