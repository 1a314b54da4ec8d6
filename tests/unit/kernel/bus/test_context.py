from __future__ import annotations

import asyncio

from msgspec.structs import replace

from cairn.agents.protocol.fence import Fence
from cairn.kernel.bus.context import NOWHERE, CallContext, child, current, entered
from cairn.kernel.ids import JobId

FENCE = Fence(resource="vm:a", epoch=3, node="n")
JOB = CallContext(job=JobId("job"), stack=("vm.create",), deadline=100.0, actor="account", parent="run", fence=FENCE)


def test_outside_of_any_call_the_context_is_empty() -> None:
    assert current() == NOWHERE == CallContext(job=None, stack=(), deadline=None, actor=None)


def test_entered_holds_for_the_block_and_nests() -> None:
    with entered(JOB) as context:
        assert current() is context is JOB
        with entered(child("step")):
            assert current().stack == ("vm.create", "step")
        assert current() is JOB
    assert current() is NOWHERE


def test_deadlines_only_shrink() -> None:
    assert JOB.child("step").deadline == 100.0
    assert JOB.child("step", 50.0).deadline == 50.0
    assert JOB.child("step", 200.0).deadline == 100.0
    assert NOWHERE.child("step", 200.0).deadline == 200.0


def test_child_keeps_job_actor_run_and_fence() -> None:
    inner = JOB.child("step")
    assert (inner.job, inner.actor, inner.parent, inner.fence) == ("job", "account", "run", FENCE)


def test_work_in_another_turn_keeps_the_rest() -> None:
    other = Fence(resource="host:h", epoch=4)
    assert JOB.fenced(other) == replace(JOB, fence=other)
    assert JOB.fenced(None).fence is None


async def test_context_follows_into_tasks_and_does_not_leak_out_of_them() -> None:
    async def work() -> CallContext:
        seen = current()
        entered(CallContext()).__enter__()
        return seen

    with entered(JOB):
        assert await asyncio.create_task(work()) is JOB
        assert current() is JOB
