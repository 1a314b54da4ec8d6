"""In whose turn a run gives commands to agents, and what it does when one of them refuses.

A run gives them in the turn that it holds a place in (its queue's key), in the epoch that stands in its row. Turns of one key
follow each other, also from node to node: the next run begins in the same epoch or a later one, and who takes a run over does so
in a later one (`ownership.take`). A run without a turn of its own works in that of the work that it is a part of.

An agent that refuses (``agent.stale-epoch``) has heard of a later one. Whether the run is another node's by now is what its row
says. If it is, this node does nothing more for it (``node.fenced``), exactly as if a write of its own had been refused. If it is
not, the agent has heard of a later epoch in another way: a part that was taken over alone, or work that was shared with a run
that has changed hands. Then the run goes on in the epoch of now.
"""

from __future__ import annotations

from msgspec.structs import replace

from cairn.agents.protocol.codes import STALE_EPOCH
from cairn.agents.protocol.fence import Fence
from cairn.kernel.bus.context import current
from cairn.kernel.error import CairnError
from cairn.kernel.flow.journal import FlowRun
from cairn.kernel.flow.run import Run
from cairn.kernel.ownership import Ownership, change
from cairn.kernel.store.store import Store, Tx


def fence_of(run: Run) -> Fence | None:
    """In whose turn `run` works now, in a context outside of its steps."""
    outer = current().fence
    if outer is not None and run.begins is None:
        return outer
    row = run.row
    return Fence(resource=row.queue_key or f"run:{row.uuid}", epoch=row.epoch, node=row.node_uuid)


def is_refused(error: BaseException) -> bool:
    """Whether an agent has refused a command because of its fence: nothing was done."""
    return isinstance(error, CairnError) and error.code == STALE_EPOCH


async def renew(run: Run, store: Store, owners: Ownership) -> None:
    """Have a run that has a row go on in the epoch of now, if it is this node's (``node.fenced``)."""

    def fn(tx: Tx) -> int:
        epoch = owners.begin(tx, None)
        change(tx, FlowRun, run.row.claim, epoch=epoch)
        return epoch

    run.row = replace(run.row, epoch=await store.write(fn))
