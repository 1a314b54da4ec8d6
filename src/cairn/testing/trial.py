"""Takes the workflow of a call through all that can go wrong with it, for the workflows and steps of plugins.

Give it to `pytest`, a case at a time::

    TRIAL = Trial(
        workflow="vm.start",
        api="StartVmInstance",
        prepare=stopped_vm,
        fields=lambda cloud: {"uuid": cloud.site["vm"]},
        settings={"plugins_extra": "cairn_audit.manifest"},
    )

    @pytest.mark.parametrize("case", await_cases(TRIAL), ids=str)
    async def test_start_with_our_step(case: Case) -> None:
        await try_workflow(TRIAL, case)

Each case begins with a cloud that `prepare` has made ready. Where the call fails, everything has to be as before; where it
succeeds, nothing may be left in the journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum

from msgspec import Struct

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.journal import FlowRun
from cairn.kernel.flow.run import FlowProbe
from cairn.kernel.flow.step import ActionStep, AnyStep
from cairn.testing.cloud import Cloud, Refused, Saved
from cairn.testing.mortal import Killed
from cairn.testing.snapshot import differences, snapshot

#: until an undo that failed is tried again, and hosts have been pinged
_LATER_SECONDS = 400.0


class Trial(Struct, frozen=True, kw_only=True):
    """A workflow, and how it is begun.

    Args:
        prepare: makes what must be there before; run once for all cases.
        fields: of the call, once that is there.
        only_forward: something is removed that cannot be brought back; then the same call, made again, ends it.
    """

    workflow: str
    api: str
    prepare: Callable[[Cloud], Awaitable[object]]
    fields: Callable[[Cloud], Mapping[str, object]]
    settings: Mapping[str, str] = {}
    hosts: int = 2
    only_forward: bool = False


class Fault(StrEnum):
    """What goes wrong."""

    NOTHING = "nothing"
    REPEATED = "each action is done twice"
    BEFORE = "failure before"
    AFTER = "failure after"
    UNDO = "failing undo of"
    KILLED = "killed at write"


class Case(Struct, frozen=True, kw_only=True):
    """One thing that goes wrong, at a step or at a journal write."""

    fault: Fault
    step: str = ""
    write: int = 0
    moment: str = ""

    def __str__(self) -> str:
        where = self.step or (f"{self.write} {self.moment}" if self.write else "")
        return f"{self.fault.value} {where}".strip()


class _Broken(CairnError):
    def __init__(self) -> None:
        super().__init__("test.broken", "The test broke this step.", kind=ErrorKind.UNAVAILABLE)


class _Probe(FlowProbe):
    def __init__(self, workflow: str, case: Case) -> None:
        self.workflow = workflow
        self.case = case
        self.armed = False
        self.writes = 0
        self.met = case.fault in (Fault.NOTHING, Fault.REPEATED)
        self.owed = False  # the step whose undo is to fail is committed, once an action begins
        self.die: Callable[[], None] = lambda: None

    def journal(self, workflow: str, moment: str) -> None:
        if not self.armed or workflow != self.workflow:
            return
        self.writes += moment == "before"
        if self.case.fault is Fault.KILLED and (self.writes, moment) == (self.case.write, self.case.moment):
            self.met, self.armed = True, False
            self.die()
            raise Killed

    def times(self, step: AnyStep) -> int:
        return 2 if self.armed and self.case.fault is Fault.REPEATED else 1

    def doing(self, workflow: str, step: AnyStep) -> None:
        self._break(workflow, step, Fault.BEFORE)
        if self.armed and workflow == self.workflow and self.owed and isinstance(step, ActionStep):
            raise _Broken

    def done(self, workflow: str, step: AnyStep) -> None:
        self._break(workflow, step, Fault.AFTER)
        if self.armed and workflow == self.workflow and self.case.fault is Fault.UNDO and step.name == self.case.step:
            self.owed = True
            if isinstance(step, ActionStep):
                raise _Broken

    def undoing(self, workflow: str, step: AnyStep) -> None:
        self._break(workflow, step, Fault.UNDO)

    def _break(self, workflow: str, step: AnyStep, fault: Fault) -> None:
        if self.armed and workflow == self.workflow and self.case.fault is fault and step.name == self.case.step:
            self.met = True
            raise _Broken


_READY: dict[tuple[object, ...], Saved] = {}


async def _ready(trial: Trial) -> Saved:
    """The cloud that all cases begin with."""
    key = (trial.prepare, trial.hosts, *sorted(trial.settings.items()))
    if key not in _READY:
        async with Cloud.open(hosts=trial.hosts, settings=trial.settings) as cloud:
            await cloud.log_in()
            await trial.prepare(cloud)
            await cloud.quiet(1)
            _READY[key] = cloud.save()
    return _READY[key]


async def find_cases(trial: Trial) -> list[Case]:
    """All that can go wrong: at each step, and at each write of the journal of a plain run."""
    probe = _Probe(trial.workflow, Case(fault=Fault.NOTHING))
    async with Cloud.open(settings=trial.settings, probe=probe, saved=await _ready(trial)) as cloud:
        steps = cloud.node.context.flows.book.effective(trial.workflow).steps
        probe.armed = True
        await cloud.call(trial.api, **trial.fields(cloud))
    cases = [Case(fault=Fault.NOTHING), Case(fault=Fault.REPEATED)]
    for index, step in enumerate(steps):
        faults = (Fault.BEFORE, Fault.AFTER, *((Fault.UNDO,) if _may_be_undone(step, steps[index + 1 :]) else ()))
        cases += [Case(fault=fault, step=step.name) for fault in faults]
    moments = [(write, moment) for write in range(1, probe.writes + 1) for moment in ("before", "after")]
    return cases + [Case(fault=Fault.KILLED, write=write, moment=moment) for write, moment in moments]


def _may_be_undone(step: AnyStep, behind: Sequence[AnyStep]) -> bool:
    """Whether its undo can come to run. The transaction steps at the end share the commit that ends the job: either they have
    happened and it has succeeded, or they have not happened."""
    if step.nothing_to_undo is not None:
        return False
    return any(isinstance(one, ActionStep) for one in (step, *behind))


def await_cases(trial: Trial) -> list[Case]:
    """`find_cases`, where there is no event loop yet: in the arguments of a decorator."""
    return asyncio.run(find_cases(trial))


async def try_workflow(trial: Trial, case: Case) -> None:
    """Make the call, let it go wrong as `case` says, and look at what is left.

    Raises:
        AssertionError: something is left, with what it is; or the fault was never met.
    """
    probe = _Probe(trial.workflow, case)
    async with Cloud.open(settings=trial.settings, probe=probe, saved=await _ready(trial)) as cloud:
        await cloud.quiet(1)
        before = snapshot(cloud)
        probe.armed, probe.die = True, cloud.die
        failed = await _failed(trial, case, cloud, probe)
        probe.armed = False
        assert probe.met, f"{case}: it never came to that"
        if failed and trial.only_forward:
            await cloud.call(trial.api, **trial.fields(cloud))
        await cloud.quiet(_LATER_SECONDS if case.fault in (Fault.UNDO, Fault.KILLED) else 1)
        left = cloud.read_now(lambda tx: tx.find(FlowRun))
        assert left == [], f"{case}: left in the journal: {left}"
        if failed and not trial.only_forward:
            found = differences(before, snapshot(cloud))
            assert found == [], f"{case}: not as before: {found}"


async def _failed(trial: Trial, case: Case, cloud: Cloud, probe: _Probe) -> bool:
    """Make the call, and revive the node if it is killed at it. Returns whether it has failed."""
    status, answer = await cloud.send(trial.api, **trial.fields(cloud))
    assert status == 202, f"{case}: {answer}"
    job = str(answer["uuid"])
    if case.fault is Fault.KILLED:
        await cloud.quiet(60)
        await cloud.revive(probe)
        await cloud.log_in()
    try:
        await cloud.finish(job)
    except Refused:
        return True
    return False
