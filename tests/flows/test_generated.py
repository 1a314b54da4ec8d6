"""Every workflow, put through everything that can happen to one.

For each workflow in the node's book: its plain run, and what its statements read; each action done twice; a failure before and
after each step; an undo that fails at each step, and later succeeds, in this life of the node or the next; the node killed
before and after each journal write: on the way forward, on the way back, with another call waiting for the same resource, and
once more while it recovers. Afterwards nothing may be left over (neither in the database nor on a host), nothing may be stuck,
and what the caller was told must be true.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache

import pytest
from tests.flows.scenarios import SCENARIOS, Prepare, Scenario
from tests.flows.statements import noted, whole_tables
from tests.flows.world import broken_rules, differences, snapshot

from cairn.bootstrap import load_plugins
from cairn.kernel.api import AnyApi, ApiCommand, ApiCreate, ApiDelete
from cairn.kernel.assembly import workflow_sources
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.engine import FlowProbe
from cairn.kernel.flow.step import ActionStep, AnyStep
from cairn.kernel.settings import load
from cairn.testing.cloud import Cloud, Killed, Refused, Saved

RETRY_SECONDS = 61
PING_SECONDS = 61
NEW = "e" * 32


class Broken(CairnError):
    """What a test breaks a step with."""

    def __init__(self) -> None:
        super().__init__("test.broken", "The test broke this step.", kind=ErrorKind.UNAVAILABLE)


class Probe(FlowProbe):
    """Counts what the workflow under test does, and breaks it where it is told to."""

    def __init__(self, workflow: str) -> None:
        self.workflow = workflow
        self.armed = False
        self.repeat = 1
        self.fail_before: str | None = None
        self.fail_after: str | None = None
        self.fail_undo: str | None = None
        self.fail_next = False
        self.kill_after: str | None = None
        self.kill_at: tuple[int, str] | None = None
        self.die: Callable[[], None] = lambda: None
        self.killed = False
        self.writes = 0
        self.undone: list[str] = []

    def journal(self, workflow: str, moment: str) -> None:
        if not self.armed or workflow != self.workflow:
            return
        if moment == "before":
            self.writes += 1
        if self.kill_at == (self.writes, moment):
            self.die()
            raise Killed

    def times(self, step: AnyStep) -> int:
        return self.repeat if self.armed else 1

    def doing(self, workflow: str, step: AnyStep) -> None:
        if not self.armed or workflow != self.workflow:
            return
        if step.name == self.fail_before or self.fail_next:
            self.fail_next = False
            raise Broken

    def done(self, workflow: str, step: AnyStep) -> None:
        if not self.armed or workflow != self.workflow:
            return
        if step.name == self.fail_after:
            raise Broken
        if step.name == self.kill_after and isinstance(step, ActionStep):
            self.killed = True
            self.die()
            raise Killed

    def undoing(self, workflow: str, step: AnyStep) -> None:
        if self.armed and workflow == self.workflow:
            self.undone.append(step.name)
            if step.name == self.fail_undo:
                raise Broken


@cache
def _lists() -> dict[str, list[str]]:
    """Each workflow's steps, as the files of the distribution list them."""
    import tomllib

    settings = load({})
    lists: dict[str, list[str]] = {}
    for source in workflow_sources(load_plugins(settings), settings):
        for name, entry in tomllib.loads(source.text).get("workflow", {}).items():
            lists[name] = entry["steps"]
    return lists


WORKFLOWS = sorted(_lists())
STEPS = [(name, step) for name in WORKFLOWS for step in _lists()[name]]


_SAVED: dict[Prepare, Saved] = {}


async def _saved(prepare: Prepare) -> Saved:
    """The cloud that a scenario begins with; made once."""
    if prepare not in _SAVED:
        async with Cloud.open(hosts=2) as cloud:
            await cloud.log_in()
            await prepare(cloud)
            await cloud.quiet(1)
            _SAVED[prepare] = cloud.save()
    return _SAVED[prepare]


@asynccontextmanager
async def prepared(workflow: str) -> AsyncIterator[tuple[Cloud, Probe, Scenario]]:
    """A cloud right before the workflow."""
    probe = Probe(workflow)
    scenario = SCENARIOS[workflow]
    async with Cloud.open(probe=probe, saved=await _saved(scenario.prepare)) as cloud:
        await cloud.quiet(1)
        probe.armed, probe.die = True, cloud.die
        yield cloud, probe, scenario


async def run(cloud: Cloud, scenario: Scenario) -> Refused | None:
    """Make the call; how it was refused, if it was."""
    try:
        await cloud.call(scenario.api, **scenario.fields(cloud))
    except Refused as refused:
        return refused
    return None


def assert_at_rest(cloud: Cloud) -> None:
    assert broken_rules(cloud) == []


def assert_unchanged(cloud: Cloud, before: dict[str, object]) -> None:
    assert differences(before, snapshot(cloud)) == []
    assert_at_rest(cloud)


def test_every_workflow_has_a_scenario() -> None:
    assert set(WORKFLOWS) - set(SCENARIOS) == set()
    assert set(SCENARIOS) - set(WORKFLOWS) == set()


@pytest.mark.parametrize("workflow", WORKFLOWS)
async def test_workflow_runs_and_reads_no_table_that_grows_as_a_whole(workflow: str) -> None:
    async with prepared(workflow) as (cloud, probe, scenario):
        with noted() as statements:
            assert await run(cloud, scenario) is None
        assert_at_rest(cloud)
        assert probe.writes > 0
        assert probe.undone == []
        assert whole_tables(cloud, statements) == []


@pytest.mark.parametrize("workflow", WORKFLOWS)
async def test_each_action_may_be_done_twice(workflow: str) -> None:
    async with prepared(workflow) as (cloud, probe, scenario):
        probe.repeat = 2
        assert await run(cloud, scenario) is None
        assert_at_rest(cloud)


async def _settle_by_trying_again(cloud: Cloud, probe: Probe, scenario: Scenario) -> None:
    """Where a step cannot be taken back, the same call made again brings the thing to its end."""
    probe.armed = False
    again = await run(cloud, scenario)
    assert again is None, again
    await cloud.quiet(90)  # hosts are pinged meanwhile, and tell of VMs that were not known for a while
    assert_at_rest(cloud)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(("workflow", "step"), STEPS)
async def test_failure_at_each_step_undoes_everything(workflow: str, step: str, moment: str) -> None:
    async with prepared(workflow) as (cloud, probe, scenario):
        before = snapshot(cloud)
        probe.fail_before = step if moment == "before" else None
        probe.fail_after = step if moment == "after" else None
        refused = await run(cloud, scenario)
        assert refused is not None
        assert refused.code == "test.broken"
        if scenario.only_forward:
            await _settle_by_trying_again(cloud, probe, scenario)
        else:
            assert_unchanged(cloud, before)


@pytest.mark.parametrize("killed", [False, True], ids=["lives", "killed"])
@pytest.mark.parametrize(("workflow", "step"), STEPS)
async def test_undo_that_fails_is_tried_again_until_it_succeeds(workflow: str, step: str, killed: bool) -> None:
    async with prepared(workflow) as (cloud, probe, scenario):
        before = snapshot(cloud)
        probe.fail_after = _lists()[workflow][-1]
        probe.fail_undo = step
        refused = await run(cloud, scenario)
        assert refused is not None
        if step in probe.undone:
            assert refused.problem.get("details", {}).get("undoPending"), refused.problem  # type: ignore[attr-defined]
            runs = await cloud.query("WorkflowRun")
            assert [row["state"] for row in runs] == ["UndoFailed"]
            probe.fail_undo = None
            if killed:
                await cloud.revive()
            await cloud.quiet(RETRY_SECONDS + 2 * PING_SECONDS)  # pings tell what is left on hosts, and how much
        runs = await cloud.query("WorkflowRun")
        assert runs == [], runs[0]["undoErrors"]
        if scenario.only_forward:
            await _settle_by_trying_again(cloud, probe, scenario)
        else:
            assert_unchanged(cloud, before)


MOMENTS = ["before", "after"]
Life = Callable[[str, int, str], Awaitable[bool]]


async def _each_write(life: Life, workflow: str, moment: str) -> None:
    """One life that ends at each journal write of a workflow, until one has fewer writes (the life says False)."""
    write = 1
    while await life(workflow, write, moment):
        write += 1
    assert write > 1, "the workflow writes no journal at all"


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("workflow", WORKFLOWS)
async def test_node_killed_at_each_journal_write_leaves_nothing_half_done(workflow: str, moment: str) -> None:
    await _each_write(_killed_at, workflow, moment)


async def _killed_at(workflow: str, write: int, moment: str) -> bool:
    async with prepared(workflow) as (cloud, probe, scenario):
        job = await _begun(cloud, probe, scenario, (write, moment))
        if job is None:
            return False
        await cloud.revive()
        await cloud.finish(job)
        assert_at_rest(cloud)
        return True


@pytest.mark.parametrize("workflow", WORKFLOWS)
async def test_another_node_takes_over_what_was_killed_at_each_journal_write(workflow: str) -> None:
    await _each_write(_taken_over_at, workflow, "after")


async def _taken_over_at(workflow: str, write: int, moment: str) -> bool:
    async with prepared(workflow) as (cloud, probe, scenario):
        job = await _begun(cloud, probe, scenario, (write, moment))
        if job is None:
            return False
        await cloud.replace()
        await cloud.finish(job)
        await cloud.quiet(15)  # what durable subscribers of the dead node owe is told by the other one
        assert_at_rest(cloud)
        return True


async def _begun(cloud: Cloud, probe: Probe, scenario: Scenario, kill_at: tuple[int, str]) -> str | None:
    """The job of the call, with the node dead at that journal write; None when there is no such write."""
    probe.kill_at = kill_at
    status, answer = await cloud.send(scenario.api, **scenario.fields(cloud))
    assert status == 202, answer
    await cloud.quiet()
    if probe.writes < kill_at[0]:
        return None
    probe.armed = False
    return str(answer["uuid"])


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("workflow", WORKFLOWS)
async def test_node_killed_at_each_journal_write_of_a_run_that_fails_leaves_nothing(workflow: str, moment: str) -> None:
    await _each_write(_killed_while_it_fails, workflow, moment)


async def _killed_while_it_fails(workflow: str, write: int, moment: str) -> bool:
    async with prepared(workflow) as (cloud, probe, scenario):
        before = snapshot(cloud)
        probe.fail_after = _lists()[workflow][-1]
        job = await _begun(cloud, probe, scenario, (write, moment))
        if job is None:
            return False
        await cloud.revive()
        done = await ended_well(cloud, job)
        if done:
            await cloud.quiet(90 if scenario.only_forward else 0)  # a host that was lost meanwhile is pinged
            assert_at_rest(cloud)
        elif scenario.only_forward:
            await _settle_by_trying_again(cloud, probe, scenario)
        else:
            assert_unchanged(cloud, before)
        return True


@pytest.mark.parametrize(("workflow", "step"), STEPS)
async def test_run_that_fails_when_it_goes_on_undoes_actions_that_the_journal_did_not_see(
    workflow: str, step: str
) -> None:
    """The node is killed right after an action, whose entry may have been left to a later one. The next life fails at once."""
    async with prepared(workflow) as (cloud, probe, scenario):
        before = snapshot(cloud)
        probe.kill_after = step
        status, answer = await cloud.send(scenario.api, **scenario.fields(cloud))
        assert status == 202, answer
        await cloud.quiet()
        if not probe.killed:
            return  # it is a transaction, which makes its own entry
        second = Probe(workflow)
        second.armed, second.fail_next = True, True
        await cloud.revive(second)
        assert not await ended_well(cloud, str(answer["uuid"]))
        if scenario.only_forward:
            await _settle_by_trying_again(cloud, second, scenario)
        else:
            assert_unchanged(cloud, before)


@pytest.mark.parametrize("workflow", WORKFLOWS)
async def test_node_killed_again_while_it_recovers_leaves_nothing_half_done(workflow: str) -> None:
    await _each_write(_killed_twice, workflow, "after")


async def _killed_twice(workflow: str, write: int, moment: str) -> bool:
    """The first life ends at the journal write `write`; the second at each of its own, until it survives."""
    again = 1
    while True:
        async with prepared(workflow) as (cloud, probe, scenario):
            job = await _begun(cloud, probe, scenario, (write, moment))
            if job is None:
                return False
            second = Probe(workflow)
            second.armed, second.die, second.kill_at = True, cloud.die, (again, moment)
            await cloud.revive(second)
            await cloud.quiet()
            survived = second.writes < again
            if not survived:
                await cloud.revive()
            await cloud.finish(job)
            assert_at_rest(cloud)
            if survived:
                return True
        again += 1


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("workflow", WORKFLOWS)
async def test_call_that_waits_for_the_resource_at_the_kill_comes_after(workflow: str, moment: str) -> None:
    await _each_write(_killed_with_another_waiting, workflow, moment)


async def _killed_with_another_waiting(workflow: str, write: int, moment: str) -> bool:
    """The resource is deleted right behind the call. Neither may see the other's work half done."""
    async with prepared(workflow) as (cloud, probe, scenario):
        probe.kill_at = (write, moment)
        call = cloud.api(scenario.api)
        fields = scenario.fields(cloud)
        if issubclass(call, ApiCreate):
            fields["resource_uuid"] = NEW
        target = fields[call.route or "uuid"]
        async with cloud.held():
            first = await _accepted(cloud, scenario.api, fields)
            second = await _accepted(cloud, _deletion(cloud, call), {"uuid": target})
        await cloud.quiet()
        if probe.writes < write:
            return False
        probe.armed = False
        await cloud.revive()

        await cloud.finish(first)
        await ended_well(cloud, second)
        await cloud.quiet()  # durable subscribers hear of it a moment later

        assert_at_rest(cloud)
        ends = {row["uuid"]: str(row["finishDate"]) for row in await cloud.query("Job")}
        assert ends[first] < ends[second]
        return True


def _deletion(cloud: Cloud, call: type[AnyApi]) -> str:
    """The call that deletes what `call` is about."""
    assert issubclass(call, ApiCommand)
    deletions = [api for api in cloud.apis() if issubclass(api, ApiDelete) and api.entity == call.entity]
    assert len(deletions) == 1
    return deletions[0].__name__


async def _accepted(cloud: Cloud, api: str, fields: dict[str, object]) -> str:
    status, answer = await cloud.send(api, **fields)
    assert status == 202, answer
    return str(answer["uuid"])


async def ended_well(cloud: Cloud, job: str) -> bool:
    """Wait for a job's end, whatever it is."""
    try:
        await cloud.finish(job)
    except Refused:
        return False
    return True
