"""A plugin that is taken out while its steps and calls are under way leaves nothing in between."""

from __future__ import annotations

import pytest
from tests.flows.world import broken_rules
from tests.integration.test_bad_plugins import Plugins, plugins

from cairn.bootstrap import load_plugins
from cairn.kernel.job import Job
from cairn.kernel.settings import load
from cairn.services.host.model import HostClaim
from cairn.simulator.dials import Dial
from cairn.testing.cloud import Cloud, Json, Refused

__all__ = ["plugins"]

AUDIT = {"plugins_extra": "cairn_audit.manifest"}
#: a step that only passes by
STEP = """
from typing import ClassVar
from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing

class Visit(ActionStep[Nothing, Nothing]):
    '''Come by.'''
    name = "{name}.visit"
    title = "coming by"
    {undo}

    async def do(self, given):
        return NOTHING
"""
LASTING = 'nothing_to_undo: ClassVar[str | None] = "it only looks"'
OWING = "\n    async def undo(self, given, made):\n        return None\n"


def visitor(plugins: Plugins, undo: str) -> None:
    """A plugin with a step right before what needs an entry of the journal, when a VM is started."""
    plugins.write(
        steps_py=lambda name: STEP.format(name=name.replace("_", "-"), undo=undo),
        workflows_toml=lambda name: (
            f'[[change]]\nworkflow = "vm.start"\nbefore = "network.apply"\nstep = "{name.replace("_", "-")}.visit"\n'
        ),
    )


async def live_on(cloud: Cloud, **plugins: str) -> None:
    """Kill the node; the next has these plugins."""
    await cloud.kill()
    cloud._loaded = load_plugins(load({}, **plugins))
    await cloud.start()
    await cloud.quiet(1)


async def starting(cloud: Cloud) -> tuple[str, str]:
    """A VM that is being started, and the job: its host is slow."""
    await cloud.make_site()
    vm = await cloud.create_vm("web", strategy="CreateStopped")
    cloud.agents.dials.turn(Dial(command="vm.start", delay_seconds=40))
    _, job = await cloud.send("StartVmInstance", uuid=vm["uuid"])
    await cloud.quiet(2)
    assert (await row(cloud, "VmInstance"))["state"] == "Starting"
    return str(vm["uuid"]), str(job["uuid"])


async def row(cloud: Cloud, entity: str) -> Json:
    (found,) = await cloud.query(entity)
    return found


def claims(cloud: Cloud) -> int:
    return cloud.read_now(lambda tx: tx.count(HostClaim))


async def end_of(cloud: Cloud, job: str) -> str:
    try:
        await cloud.finish(job)
    except Refused as refused:
        return refused.code
    return "Succeeded"


async def test_a_finished_step_without_an_undo_is_passed_over_when_it_is_gone(plugins: Plugins) -> None:
    visitor(plugins, LASTING)
    async with Cloud.open(hosts=1, settings=plugins.settings) as cloud:
        _, job = await starting(cloud)
        await live_on(cloud)

        assert await end_of(cloud, job) == "Succeeded"
        assert (await row(cloud, "VmInstance"))["state"] == "Running"
        assert await cloud.query("WorkflowRun") == []
        assert broken_rules(cloud) == []


async def test_a_run_that_would_need_a_step_that_is_gone_is_undone() -> None:
    async with Cloud.open(hosts=1, settings=AUDIT) as cloud:
        vm, job = await starting(cloud)
        await live_on(cloud)

        assert await end_of(cloud, job) == "workflow.step-gone"
        assert (await row(cloud, "VmInstance"))["state"] == "Stopped"
        assert (await cloud.query("WorkflowRun"), claims(cloud)) == ([], 0)
        cloud.agents.dials.clear()
        await cloud.call("StartVmInstance", uuid=vm)
        assert broken_rules(cloud) == []


@pytest.mark.parametrize("settled", [False, True])
async def test_what_a_step_that_is_gone_owes_waits_for_it_or_for_an_operator(plugins: Plugins, settled: bool) -> None:
    visitor(plugins, OWING)
    async with Cloud.open(hosts=1, settings=plugins.settings) as cloud:
        vm, job = await starting(cloud)
        await live_on(cloud)
        await cloud.request("DELETE", f"/v1/api-jobs/{job}")
        assert await end_of(cloud, job) == "job.cancelled"
        cloud.agents.dials.clear()
        cloud.agents.restart_agent("sim-0001")  # what the first node asked of it does not come late
        run = await row(cloud, "WorkflowRun")
        assert run["state"] == "UndoFailed"
        with pytest.raises(Refused, match="undo-pending"):
            await cloud.call("StartVmInstance", uuid=vm)

        if settled:
            await cloud.call("SettleWorkflowRun", uuid=run["uuid"])
        else:
            await live_on(cloud, **plugins.settings)
            await cloud.quiet(120)
            await cloud.log_in()

        assert (await row(cloud, "VmInstance"))["state"] == "Stopped"
        assert (await cloud.query("WorkflowRun"), claims(cloud)) == ([], 0)
        await cloud.call("StartVmInstance", uuid=vm)
        assert broken_rules(cloud) == []
        await cloud.call("DestroyVmInstance", uuid=vm)


async def test_an_open_call_of_a_plugin_that_is_gone_fails_and_says_why() -> None:
    async with Cloud.open(hosts=1, settings=AUDIT) as cloud:
        await cloud.make_site()
        vm = await cloud.create_vm("web")
        async with cloud.held():
            status, job = await cloud.send("AddAuditNote", vm_instance_uuid=vm["uuid"], text="moved")
            assert status == 202, job
            await cloud.store.write(
                lambda tx: tx.update(Job, str(job["uuid"]), tag="audit-note.add-of-another-version")
            )
            await live_on(cloud)

        assert await end_of(cloud, str(job["uuid"])) == "job.unreadable"
        await cloud.call("DestroyVmInstance", uuid=vm["uuid"])
