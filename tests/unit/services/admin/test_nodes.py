from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from tests.unit.services.small_node import SmallNode

from cairn.kernel.ids import NodeId
from cairn.kernel.membership import ManagementNode, NodeState
from cairn.services.admin.messages import DrainManagementNode, RemoveManagementNode, ResumeManagementNode

ONE, TWO = "1" * 32, "2" * 32


@pytest.fixture(autouse=True)
async def members(node: SmallNode) -> None:
    """Two nodes, as rows only."""
    now = node.clock.now()
    rows = [
        ManagementNode(uuid=NodeId(uuid), host_name="h", port=1, join_date=now, heart_beat=now, epoch=1)
        for uuid in (ONE, TWO)
    ]
    await node.context.store.write(lambda tx: tx.insert_many(rows))


async def states(node: SmallNode) -> dict[str, NodeState]:
    rows = await node.context.store.read(lambda tx: tx.find(ManagementNode))
    return {row.uuid: row.state for row in rows}


async def test_a_node_is_drained_and_takes_part_again(node: SmallNode) -> None:
    for _ in range(2):
        await node.clock.run(node.call(DrainManagementNode(uuid=ONE)))
    assert await states(node) == {ONE: NodeState.DRAINING, TWO: NodeState.RUNNING}
    for _ in range(2):
        await node.clock.run(node.call(ResumeManagementNode(uuid=ONE)))
    assert await states(node) == {ONE: NodeState.RUNNING, TWO: NodeState.RUNNING}


async def test_one_node_at_least_has_to_take_work(node: SmallNode) -> None:
    await node.clock.run(node.call(DrainManagementNode(uuid=ONE)))
    error = await node.clock.run(node.refused(DrainManagementNode(uuid=TWO), "node.only-one"))
    assert "Start another one first" in error.message
    assert await states(node) == {ONE: NodeState.DRAINING, TWO: NodeState.RUNNING}


async def test_a_node_whose_heart_stands_still_is_forgotten_and_one_that_is_gone_is_success(node: SmallNode) -> None:
    for _ in range(2):
        await node.clock.run(node.call(RemoveManagementNode(uuid=ONE)))
    assert await states(node) == {TWO: NodeState.RUNNING}


async def test_a_node_that_lives_is_not_removed(node: SmallNode) -> None:
    async def beat() -> None:
        for _ in range(20):
            await node.clock.sleep(1.0)
            await node.context.store.write(lambda tx: tx.update(ManagementNode, ONE, heart_beat=tx.now))

    beating = asyncio.create_task(beat())
    error = await node.clock.run(node.refused(RemoveManagementNode(uuid=ONE), "node.still-alive"))
    beating.cancel()
    with suppress(asyncio.CancelledError):
        await beating
    assert "drain it" in error.message
    assert set(await states(node)) == {ONE, TWO}


async def test_a_node_that_starts_again_meanwhile_is_not_removed(node: SmallNode) -> None:
    async def starts_again() -> None:
        await node.clock.sleep(1.0)
        await node.context.store.write(lambda tx: tx.update(ManagementNode, ONE, epoch=3))

    starting = asyncio.create_task(starts_again())
    await node.clock.run(node.refused(RemoveManagementNode(uuid=ONE), "node.still-alive"))
    await starting
    assert set(await states(node)) == {ONE, TWO}
