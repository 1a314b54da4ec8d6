"""Every workflow, put through everything that can happen to one.

For each workflow in the node's book: its plain run; each action done twice; a failure before and after each step; an undo that
fails at each step, and later succeeds; the node killed before and after each journal write. Afterwards nothing may be left over
(neither in the database nor on a host), nothing may be stuck, and what the caller was told must be true.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

import pytest
from tests.flows.scenarios import SCENARIOS, Prepare, Scenario
from tests.flows.world import broken_rules, differences, snapshot

from cairn.bootstrap import load_plugins
from cairn.kernel.assembly import workflow_sources
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.engine import FlowProbe
from cairn.kernel.flow.step import AnyStep
from cairn.kernel.settings import load
from cairn.testing.cloud import Cloud, Killed, Refused, Saved

RETRY_SECONDS = 61


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
        self.kill_at: tuple[int, str] | None = None
        self.writes = 0
        self.undone: list[str] = []

    def journal(self, workflow: str, moment: str) -> None:
        if not self.armed or workflow != self.workflow:
            return
        if moment == "before":
            self.writes += 1
        if self.kill_at == (self.writes, moment):
            raise Killed

    def times(self, step: AnyStep) -> int:
        return self.repeat if self.armed else 1

    def doing(self, workflow: str, step: AnyStep) -> None:
        if self.armed and workflow == self.workflow and step.name == self.fail_before:
            raise Broken

    def done(self, workflow: str, step: AnyStep) -> None:
        if self.armed and workflow == self.workflow and step.name == self.fail_after:
            raise Broken

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
        probe.armed = True
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
async def test_workflow_runs(workflow: str) -> None:
    async with prepared(workflow) as (cloud, probe, scenario):
        assert await run(cloud, scenario) is None
        assert_at_rest(cloud)
        assert probe.writes > 0
        assert probe.undone == []


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


@pytest.mark.parametrize(("workflow", "step"), STEPS)
async def test_undo_that_fails_is_tried_again_until_it_succeeds(workflow: str, step: str) -> None:
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
            await cloud.quiet(RETRY_SECONDS)
        assert await cloud.query("WorkflowRun") == []
        if scenario.only_forward:
            await _settle_by_trying_again(cloud, probe, scenario)
        else:
            assert_unchanged(cloud, before)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("workflow", WORKFLOWS)
async def test_node_killed_at_each_journal_write_leaves_nothing_half_done(workflow: str, moment: str) -> None:
    write = 1
    while await _killed_at(workflow, write, moment):
        write += 1
    assert write > 1, "the workflow writes no journal at all"


async def _killed_at(workflow: str, write: int, moment: str) -> bool:
    """One life that ends at that write; False when the workflow has fewer writes."""
    async with prepared(workflow) as (cloud, probe, scenario):
        probe.kill_at = (write, moment)
        status, answer = await cloud.send(scenario.api, **scenario.fields(cloud))
        assert status == 202, answer
        await cloud.quiet()
        if probe.writes < write:
            return False
        probe.armed = False
        await cloud.revive()
        await cloud.finish(str(answer["uuid"]))
        assert_at_rest(cloud)
        return True
