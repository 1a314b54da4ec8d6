from __future__ import annotations

import asyncio

from cairn.kernel.bus.context import CallContext, entered
from cairn.kernel.flow.journal import RunHead, RunState
from cairn.kernel.flow.places import Places
from cairn.kernel.ids import NodeId
from cairn.kernel.metrics import Metrics
from cairn.kernel.queue import ResourceQueues
from cairn.testing.clock import VirtualClock


def row(uuid: str, key: str | None, parent: str | None = None, *, actor: str | None = None) -> RunHead:
    return RunHead(
        uuid=uuid,
        node_uuid=NodeId("n"),
        epoch=1,
        job_uuid=None,
        parent_uuid=parent,
        workflow=f"flow.{uuid}",
        queue_key=key,
        actor=actor,
        state=RunState.RUNNING,
    )


def taken(queues: ResourceQueues) -> dict[str, list[str]]:
    return {report.key: [entry.name for entry in report.running] for report in queues.inspect()}


def test_each_run_with_a_queue_takes_its_place_and_an_inner_one_shares_its_outer_ones() -> None:
    queues = ResourceQueues(VirtualClock(), Metrics())
    places = Places(queues)
    outer, inner, other = row("outer", "vm:1"), row("inner", "vm:1", "outer"), row("other", "host:1", "outer")
    innermost = row("innermost", "vm:1", "inner")
    places.take([innermost, inner, outer, other, row("free", None)])

    assert taken(queues) == {"vm:1": ["flow.outer"], "host:1": ["flow.other"]}
    assert places.of(innermost) is places.of(inner) is places.of(outer)
    assert places.of(other) is not places.of(outer)
    assert places.of(row("free", None)) is None

    places.leave("inner")
    assert taken(queues) == {"vm:1": ["flow.outer"], "host:1": ["flow.other"]}
    places.leave("outer")
    places.leave("other")
    places.leave("outer")
    assert taken(queues) == {}


async def test_a_place_counts_in_the_share_of_the_account_that_asked_for_the_run() -> None:
    clock = VirtualClock()
    queues = ResourceQueues(clock, Metrics())
    Places(queues).take([row("left", "pool:1", actor="mallory")])
    gate = asyncio.Event()
    with entered(CallContext(actor="mallory")):
        tasks = [asyncio.create_task(queues.run("pool:1", gate.wait, name=name, parallelism=2)) for name in "ab"]
    await clock.settle()

    assert taken(queues) == {"pool:1": ["flow.left"]}  # one of two places is for others

    with entered(CallContext(actor="alice")):
        tasks.append(asyncio.create_task(queues.run("pool:1", gate.wait, name="hers", parallelism=2)))
    await clock.settle()

    assert taken(queues) == {"pool:1": ["flow.left", "hers"]}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_an_inner_run_whose_outer_one_is_gone_has_a_place_of_its_own() -> None:
    queues = ResourceQueues(VirtualClock(), Metrics())
    places = Places(queues)
    orphan = row("inner", "vm:1", "gone")
    places.take([orphan])
    assert places.of(orphan) is not None
