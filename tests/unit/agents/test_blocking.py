from __future__ import annotations

import asyncio
import threading

from tests.unit.agents.fakes import settle, until

from cairn.agents.blocking import KeyedLocks, in_thread


async def test_cancelled_caller_still_waits_for_the_end_of_the_thread() -> None:
    began, gate, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        gate.wait(10)
        ended.set()

    task = asyncio.create_task(in_thread(work))
    await until(began.is_set)
    for _ in range(2):
        task.cancel()
        await settle()
        assert not task.done()
    gate.set()
    await asyncio.wait({task})
    assert task.cancelled()
    assert ended.is_set()


async def test_one_key_is_held_by_one_at_a_time_and_others_are_free() -> None:
    locks = KeyedLocks()
    events: list[str] = []
    gate = asyncio.Event()

    async def hold(key: str, name: str) -> None:
        async with locks(key):
            events.append(f"{name} in")
            await gate.wait()
            events.append(f"{name} out")

    tasks = [asyncio.create_task(hold(*which)) for which in (("a", "1"), ("a", "2"), ("b", "3"))]
    await settle()
    assert events == ["1 in", "3 in"]
    gate.set()
    await asyncio.gather(*tasks)
    assert events.index("1 out") < events.index("2 in")


async def test_waiter_that_is_cancelled_leaves_the_lock_usable() -> None:
    locks = KeyedLocks()
    async with locks("a"):
        waiter = asyncio.create_task(locks("a").__aenter__())
        await settle()
        waiter.cancel()
        await settle()
    async with locks("a"):
        pass
