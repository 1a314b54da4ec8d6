"""Answers the API's calls about management nodes: to take one out of service, and to forget one that is dead."""

from __future__ import annotations

from cairn.kernel.bus.handlers import handles
from cairn.kernel.clock import Clock
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.ids import NodeId
from cairn.kernel.jobs import Jobs
from cairn.kernel.membership import (
    HEARTBEAT_SECONDS,
    MISSED_HEARTBEATS,
    ManagementNode,
    NodeState,
    change_state,
    take_out,
)
from cairn.kernel.store.store import Store, Tx
from cairn.services.admin.messages import DrainManagementNode, RemoveManagementNode, ResumeManagementNode

#: a heart that has stood still for so long does not beat any more
_WATCHED_SECONDS = (MISSED_HEARTBEATS + 1) * HEARTBEAT_SECONDS


class NodeService:
    """Answers the messages about management nodes."""

    def __init__(self, store: Store, jobs: Jobs, clock: Clock) -> None:
        self._store = store
        self._jobs = jobs
        self._clock = clock

    @handles(DrainManagementNode)
    async def drain(self, message: DrainManagementNode) -> None:
        """Have a node own no keys any more; one at least has to own them."""

        def fn(tx: Tx) -> None:
            change_state(tx, NodeId(message.uuid), NodeState.DRAINING)
            # The change has the epoch's row, so of two calls that drain the last two nodes the second sees the first.
            if not tx.count(ManagementNode, state=NodeState.RUNNING):
                raise CairnError(
                    "node.only-one",
                    f"The node {message.uuid} is the only one that takes work. Start another one first, or just stop it: its "
                    "work goes on when it is started again.",
                    kind=ErrorKind.CONFLICT,
                )

        await self._jobs.commit(fn)

    @handles(ResumeManagementNode)
    async def resume(self, message: ResumeManagementNode) -> None:
        """Have a node own keys again."""

        def fn(tx: Tx) -> None:
            change_state(tx, NodeId(message.uuid), NodeState.RUNNING)

        await self._jobs.commit(fn)

    @handles(RemoveManagementNode)
    async def remove(self, message: RemoveManagementNode) -> None:
        """Watch a node's heart, by this node's own clock, and remove its row if that stands still."""
        seen = await self._store.read(lambda tx: tx.get(ManagementNode, message.uuid))
        if seen is not None:
            await self._clock.sleep(_WATCHED_SECONDS)

        def fn(tx: Tx) -> None:
            if seen is not None and not take_out(tx, seen):
                raise CairnError(
                    "node.still-alive",
                    f"The node {message.uuid} is alive: its heart beat while it was watched. Stop it first; before that, "
                    "drain it (DrainManagementNode) so that nothing is broken off.",
                    kind=ErrorKind.CONFLICT,
                )

        await self._jobs.commit(fn)
