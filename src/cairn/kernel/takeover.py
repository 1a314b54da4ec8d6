"""Takes over what nodes leave behind that are not there any more, and waits for what others still do.

When the list of members changes, this node
  1. reads, together with the list, which runs others work on in queues that are its own now, and keeps their places, so that
     nothing begins there before they have ended (`survey`);
  2. takes the open jobs and the runs of dead processes that the ring gives to it, and goes on with them (`round`);
  3. gives away the jobs that it has not begun and does not own any more.

Whose a run is follows its job's owner, so that a job and all its runs are taken by one node. An inner run whose node died
goes to the node of the living job that it works for.

An undo that is owed holds no place. Its owner is asked for it, and gives it unless it is being tried just then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
import structlog
from msgspec import Struct
from sqlalchemy import bindparam, select

from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.handlers import handles
from cairn.kernel.bus.message import Command
from cairn.kernel.bus.transport import NOT_OWNER
from cairn.kernel.error import CairnError
from cairn.kernel.flow.engine import FlowEngine
from cairn.kernel.flow.journal import FlowRun, RunHead, RunState, heads
from cairn.kernel.ids import NodeId
from cairn.kernel.job import OPEN, Job
from cairn.kernel.jobs import Jobs
from cairn.kernel.ownership import Claim, Ownership, is_living, take
from cairn.kernel.queue import resource_of
from cairn.kernel.ring import Ring
from cairn.kernel.store.record import table_of
from cairn.kernel.store.store import Store, Tx

ROUND_SECONDS = 1.0
_ASK_SECONDS = 5.0
_log = structlog.get_logger("cairn.takeover")
_job = table_of(Job)
_OPEN_HEADS = (
    select(_job.c.uuid, _job.c.node_uuid, _job.c.epoch, _job.c.ring_key)
    .where(_job.c.state.in_(bindparam("states", expanding=True)))
    .order_by(_job.c.create_date)
)


class Released(Struct, frozen=True, kw_only=True):
    """What became of an undo that was owed."""

    given: bool  #: it is not owed any more where it was


class ReleaseRun(Command[Released], frozen=True, kw_only=True, tag="flow.release-run"):
    """Give an undo that is owed to the node that asks. Safe to repeat."""

    run: str


class EndRun(Command[Released], frozen=True, kw_only=True, tag="flow.end-run"):
    """Try an undo that is owed again, now, or forget it, on the node that owes it. Safe to repeat."""

    run: str
    forget: bool = False


class _JobHead(NamedTuple):
    """What tells whose a job is."""

    uuid: str
    node_uuid: NodeId
    epoch: int
    ring_key: str

    @property
    def claim(self) -> Claim:
        """Whose it is."""
        return Claim(self.uuid, self.node_uuid, self.epoch)


class _Taken(NamedTuple):
    """What is this node's now."""

    jobs: list[Job]
    runs: list[RunHead]


class Takeover:
    """What one node takes from the others, and gives them."""

    def __init__(self, *, store: Store, bus: Bus, ring: Ring, owners: Ownership, jobs: Jobs, flows: FlowEngine) -> None:
        self._store = store
        self._bus = bus
        self._ring = ring
        self._owners = owners
        self._jobs = jobs
        self._flows = flows
        self._done_epoch = 0  #: the list of members for which all was taken
        self._abroad: set[str] = set()  #: others' runs whose places are kept here
        bus.serve(self)

    # -- what others do -------------------------------------------------------------------------------------------

    def survey(self, tx: Tx) -> Callable[[], None]:
        """Read the runs together with a new list of members. For `Membership.survey_by`."""
        rows = heads(tx)
        return lambda: self._keep(rows)

    def _keep(self, rows: Sequence[RunHead]) -> None:
        others = [row for row in rows if not self._is_own(row.claim) and self._is_in_own_queue(row)]
        self._flows.keep(others)
        self._abroad.update(row.uuid for row in others)

    def _is_own(self, claim: Claim) -> bool:
        return claim.node_uuid == self._owners.node and is_living(self._owners, claim)

    def _is_in_own_queue(self, row: RunHead) -> bool:
        return row.queue_key is not None and self._owns(resource_of(row.queue_key))

    def _owns(self, key: str) -> bool:
        return self._ring.owns(self._owners.node, key)

    # -- rounds ---------------------------------------------------------------------------------------------------

    async def start(self) -> int:
        """Take what former processes left. Before the first call is accepted.

        Returns:
            How many jobs were taken up.
        """
        return await self._take()

    async def round(self) -> None:
        """Do what the last change of the members asks for, and look at what others still do in this node's queues.

        Costs nothing while the members stay the same and nobody else works in them.
        """
        if self._done_epoch != self._ring.epoch:
            await self._take()
            if self._ring.members:
                self._jobs.pass_on()
        if self._abroad:
            await self._look()

    async def _take(self) -> int:
        epoch = self._ring.epoch
        try:
            taken = await self._store.write(self._taken)
        except CairnError as error:
            if error.code == NOT_OWNER:
                return 0  # the list has changed again, and this node will hear of it
            raise
        begun = self._flows.adopt(taken.runs)
        self._jobs.adopt(taken.jobs, begun)
        await self._flows.recover_orphans({row.uuid for row in taken.runs})
        self._abroad.difference_update(row.uuid for row in taken.runs)
        self._done_epoch = epoch
        if taken.jobs or taken.runs:
            _log.info("takeover.taken", jobs=len(taken.jobs), runs=len(taken.runs), epoch=epoch)
        return len(taken.jobs)

    def _taken(self, tx: Tx) -> _Taken:
        epoch = self._owners.begin(tx, None)
        if epoch != self._ring.epoch:
            raise CairnError(NOT_OWNER, "The members have changed again.")
        jobs = msgspec.convert(tx.rows(_OPEN_HEADS, {"states": [str(state) for state in OPEN]}), list[_JobHead])
        runs = heads(tx)
        nodes = _Nodes(self._owners, jobs, runs)
        own = self._owners.node
        taken_jobs = [job for job in jobs if not is_living(self._owners, job.claim) and nodes.of_job(job) == own]
        taken_runs = [run for run in runs if not is_living(self._owners, run.claim) and nodes.of_run(run) == own]
        return _Taken(self._claim_jobs(tx, taken_jobs, epoch), self._claim_runs(tx, taken_runs, epoch))

    def _claim_jobs(self, tx: Tx, heads: Iterable[_JobHead], epoch: int) -> list[Job]:
        claimed = []
        for head in heads:
            row = tx.get(Job, head.uuid) if take(tx, Job, head.claim, self._owners.node, epoch) else None
            if row is not None:
                claimed.append(row)
        return claimed

    def _claim_runs(self, tx: Tx, heads: Iterable[RunHead], epoch: int) -> list[RunHead]:
        own = self._owners.node
        return [
            head._replace(node_uuid=own, epoch=epoch) for head in heads if take(tx, FlowRun, head.claim, own, epoch)
        ]

    async def _look(self) -> None:
        """Give back the places of others' runs that are gone, and ask for undos that are owed in this node's queues."""
        rows = {row.uuid: row for row in await self._store.read(heads) if row.uuid in self._abroad}
        for uuid in sorted(self._abroad):
            row = rows.get(uuid)
            if row is None:
                self._flows.leave(uuid)
                self._abroad.discard(uuid)
            elif row.node_uuid == self._owners.node:
                self._abroad.discard(uuid)  # it was taken, with its place
            elif row.state is RunState.UNDO_FAILED and self._is_in_own_queue(row):
                await self._ask_for(row)

    async def _ask_for(self, row: RunHead) -> None:
        """Have an undo that is owed in this node's queue be this node's own."""
        try:
            asked = await self._bus.ask(row.node_uuid, ReleaseRun(run=row.uuid), timeout_seconds=_ASK_SECONDS)
            if not asked.given:
                return  # it is being tried there just now: the next round asks again
            runs = await self._store.write(lambda tx: self._claim_runs(tx, [row], self._owners.begin(tx, None)))
        except CairnError as error:
            _log.info("takeover.undo-not-given", run=row.uuid, node=row.node_uuid, error=str(error))
            return
        if runs:
            self._abroad.discard(row.uuid)
            self._flows.adopt(runs)
            await self._flows.recover_orphans([row.uuid])

    # -- undos that are owed, for operators -------------------------------------------------------------------------

    async def retry(self, uuid: str) -> bool:
        """Try an undo that is owed again, on the node that owes it. Returns and raises what `FlowEngine.retry` does."""
        return await self._end(EndRun(run=uuid))

    async def settle(self, uuid: str) -> None:
        """Forget an undo that is owed, on the node that owes it: see `FlowEngine.settle`."""
        await self._end(EndRun(run=uuid, forget=True))

    async def _end(self, message: EndRun) -> bool:
        row = await self._store.look(lambda tx: tx.get(FlowRun, message.run))
        if row is None:
            return True
        return (await self._bus.ask(row.node_uuid, message)).given

    @handles(EndRun)
    async def end(self, message: EndRun) -> Released:
        """Try an undo again that is owed here, or forget it."""
        if not message.forget:
            return Released(given=await self._flows.retry(message.run))
        await self._flows.settle(message.run)
        return Released(given=True)

    @handles(ReleaseRun)
    async def release(self, message: ReleaseRun) -> Released:
        """Give an undo that is owed to the node that asks."""
        return Released(given=self._flows.release(message.run))


class _Nodes:
    """To which nodes the rows of dead processes go."""

    def __init__(self, owners: Ownership, jobs: Iterable[_JobHead], runs: Iterable[RunHead]) -> None:
        self._owners = owners
        self._jobs: Mapping[str, _JobHead] = {job.uuid: job for job in jobs}
        self._runs: Mapping[str, RunHead] = {run.uuid: run for run in runs}

    def of_job(self, job: _JobHead) -> NodeId:
        """The node of a job: its own if that is there, else the owner of its key."""
        if is_living(self._owners, job.claim):
            return job.node_uuid
        return self._former(job.claim) or self._owners.owner_of(job.ring_key)

    def of_run(self, run: RunHead) -> NodeId:
        """The node of a run: that of the job, or of the outer run, that it works for; else the owner of its queue's key."""
        job = self._jobs.get(run.job_uuid or "")
        if job is not None:
            return self.of_job(job)
        outer = self._runs.get(run.parent_uuid or "")
        if outer is not None:
            return self.of_run(outer)
        if is_living(self._owners, run.claim):
            return run.node_uuid
        return self._former(run.claim) or self._owners.owner_of(resource_of(run.queue_key or "") or run.uuid)

    def _former(self, claim: Claim) -> NodeId | None:
        """This node, if the row is of its own former process: whatever the ring says, it knows best that that is dead."""
        return self._owners.node if claim.node_uuid == self._owners.node else None
