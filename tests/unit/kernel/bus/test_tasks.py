from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from cairn.kernel.bus.context import NOWHERE, CallContext, current, entered
from cairn.kernel.bus.tasks import Tasks


async def test_stopping_cancels_all_and_waits_for_their_clean_up() -> None:
    ended: list[bool] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    tasks = Tasks()
    tasks.start(work(), "one")
    tasks.start(work(), "other")
    await asyncio.sleep(0)
    await tasks.stop()
    await tasks.stop()
    assert ended == [True, True]


async def test_task_may_stop_its_own_set() -> None:
    tasks = Tasks()
    done: list[bool] = []

    async def work() -> None:
        await tasks.stop()
        done.append(True)

    await tasks.start(work(), "stopper")
    assert done == [True]


async def test_task_is_named_and_starts_in_an_empty_context() -> None:
    seen: list[CallContext] = []

    async def work() -> None:
        seen.append(current())

    tasks = Tasks()
    with entered(CallContext(stack=("caller",))):
        task = tasks.start(work(), "worker")
    await tasks.settle()
    assert task.get_name() == "worker"
    assert seen == [NOWHERE]


async def test_task_that_raises_is_logged_and_ends_no_other() -> None:
    async def work() -> None:
        raise KeyError("surprise")

    tasks = Tasks()
    other = tasks.start(asyncio.Event().wait(), "other")  # type: ignore[arg-type]
    with capture_logs() as logged:
        await asyncio.gather(tasks.start(work(), "worker"), return_exceptions=True)
        await asyncio.sleep(0)
    assert [(line["event"], line["name"], line["error"]) for line in logged] == [
        ("task.failed", "worker", "KeyError('surprise')")
    ]
    assert not other.done()
    await tasks.stop()
