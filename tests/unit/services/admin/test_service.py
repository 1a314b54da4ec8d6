from __future__ import annotations

from datetime import datetime
from importlib import metadata

import pytest
from tests.unit.services.small_node import SmallNode

from cairn.kernel import limits as config
from cairn.kernel.config import GlobalConfigRow
from cairn.kernel.event import DeliveryState, EventDelivery
from cairn.kernel.flow.journal import FlowRun, RunState, encode_data
from cairn.kernel.job import JobState
from cairn.kernel.resource import EraseResource
from cairn.services.admin.messages import (
    ForgetEventDelivery,
    GetCurrentTime,
    GetPlugins,
    GetResourceQueue,
    GetVersion,
    GetWorkflow,
    GetWorkflows,
    PluginState,
    ResetGlobalConfig,
    RetryEventDelivery,
    RetryWorkflowRun,
    SettleWorkflowRun,
    UpdateGlobalConfig,
)
from cairn.services.zone.messages import DeleteZone


def run(node: SmallNode, state: RunState) -> FlowRun:
    """A zone deletion that stands at its last step's undo."""
    now: datetime = node.clock.now()
    data = {"uuid": "0" * 32, "account": "", "asked": DeleteZone(uuid="0" * 32)}
    return FlowRun(
        uuid=node.ids.new(),
        node_uuid=node.context.node,
        workflow="zone.delete",
        state=state,
        position=2,
        steps=["cascade.delete-children", "resource.erase"],
        undo_left=[1],
        undo_errors={"resource.erase": "the host is down"},
        data=encode_data(data),
        create_date=now,
        last_op_date=now,
    )


async def test_a_setting_is_in_force_at_once_and_shown(node: SmallNode) -> None:
    uuid = (await node.call(UpdateGlobalConfig(category="api", name="parallelism", value="7"))).uuid

    assert node.context.config.get(config.API_PARALLELISM) == 7
    shown = await node.shown("GlobalConfig", uuid)
    assert (shown["value"], shown["defaultValue"]) == ("7", "500")


async def test_wrong_settings_are_refused_with_what_would_fit(node: SmallNode) -> None:
    await node.refused(UpdateGlobalConfig(category="api", name="parallelism", value="many"), "config.bad-value")
    error = await node.refused(UpdateGlobalConfig(category="api", name="nothing", value="1"), "config.not-found")

    assert "api.parallelism" in error.message
    assert node.context.config.get(config.API_PARALLELISM) == 500


@pytest.mark.parametrize(
    ("message", "api", "job"),
    [
        (ResetGlobalConfig(), 500, 604_800),
        (ResetGlobalConfig(category="api"), 500, 60),
        (ResetGlobalConfig(category="job", name="retention"), 7, 604_800),
    ],
)
async def test_reset_takes_one_setting_a_category_or_all(
    node: SmallNode, message: ResetGlobalConfig, api: int, job: int
) -> None:
    await node.call(UpdateGlobalConfig(category="api", name="parallelism", value="7"))
    await node.call(UpdateGlobalConfig(category="job", name="retention", value="60"))

    await node.call(message)

    assert node.context.config.get(config.API_PARALLELISM) == api
    assert node.context.config.get(config.JOB_RETENTION) == job
    changed = [row for row in await node.all(GlobalConfigRow) if row.value != row.default_value]
    assert len(changed) == (api == 7) + (job == 60)


async def test_reset_of_what_there_is_not_is_refused(node: SmallNode) -> None:
    await node.refused(ResetGlobalConfig(category="api", name="nothing"), "config.not-found")
    await node.refused(ResetGlobalConfig(category="nothing"), "config.not-found")
    await node.refused(ResetGlobalConfig(name="parallelism"), "config.no-category")


async def test_version_and_time(node: SmallNode) -> None:
    assert (await node.call(GetVersion())).version == metadata.version("cairn-cloud")
    seconds = int(node.clock.now().timestamp())
    assert (await node.call(GetCurrentTime())).current_time == {"MillionSeconds": seconds * 1000, "Seconds": seconds}


async def test_workflows_are_shown_with_where_each_line_came_from(node: SmallNode) -> None:
    shown = (await node.call(GetWorkflow(name="zone.delete"))).inventory

    assert [step.name for step in shown.steps] == ["cascade.delete-children", "resource.erase"]
    assert shown.steps[1].title == EraseResource.title
    assert all(step.origin.endswith("zone/workflows.toml") for step in shown.steps)
    assert [one.name for one in (await node.call(GetWorkflows())).inventories] == ["zone.delete"]
    await node.refused(GetWorkflow(name="zone.paint"), "workflow.not-found")


async def test_queues_show_what_runs_in_them(node: SmallNode) -> None:
    async def look() -> list[str]:
        return [queue.key for queue in (await node.call(GetResourceQueue(prefix="zone:"))).inventories]

    assert await node.context.queues.run("zone:z", look, name="looking") == ["zone:z"]
    assert await look() == []


async def test_plugins_tell_what_is_left_out_and_why(node: SmallNode) -> None:
    plugins = {plugin.name: plugin for plugin in (await node.call(GetPlugins())).inventories}

    assert plugins["zone"].state is PluginState.LOADED
    assert plugins["zone"].doc == "Zones: data centers, rooms, sites."
    assert plugins["audit"].state is PluginState.LEFT_OUT
    assert plugins["audit"].reason == "it is named in plugins_disabled"


async def test_a_failed_undo_is_tried_again(node: SmallNode) -> None:
    row = run(node, RunState.UNDO_FAILED)
    await node.insert(row)

    job = await node.job(RetryWorkflowRun(uuid=row.uuid))

    assert job.state is JobState.SUCCEEDED
    assert await node.all(FlowRun) == []
    await node.call(RetryWorkflowRun(uuid=row.uuid))


async def test_an_undo_that_fails_again_says_why(node: SmallNode, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(uuid: str) -> bool:
        return False

    row = run(node, RunState.UNDO_FAILED)
    await node.insert(row)
    monkeypatch.setattr(node.context.flows, "retry", fail)

    error = await node.refused(RetryWorkflowRun(uuid=row.uuid), "workflow.undo-failed")

    assert "resource.erase: the host is down" in error.message


async def test_a_failed_undo_is_settled_and_a_running_one_is_not(node: SmallNode) -> None:
    failed, running = run(node, RunState.UNDO_FAILED), run(node, RunState.RUNNING)
    await node.insert(failed, running)

    await node.call(SettleWorkflowRun(uuid=failed.uuid))
    await node.call(SettleWorkflowRun(uuid=failed.uuid))
    await node.refused(SettleWorkflowRun(uuid=running.uuid), "workflow.still-running")
    await node.refused(RetryWorkflowRun(uuid=running.uuid), "workflow.still-running")

    assert [row.uuid for row in await node.all(FlowRun)] == [running.uuid]


def set_aside(node: SmallNode, state: DeliveryState = DeliveryState.SET_ASIDE) -> EventDelivery:
    """An event of a subscriber that this node does not have."""
    now = node.clock.now()
    return EventDelivery(
        uuid=node.ids.new(),
        subscriber="hook",
        state=state,
        sequence=1,
        name="zone.seen",
        content={},
        event_date=now,
        create_date=now,
        last_op_date=now,
    )


async def test_an_event_that_was_set_aside_stays_until_it_can_be_told_or_is_forgotten(node: SmallNode) -> None:
    row = set_aside(node)
    await node.insert(row)

    await node.refused(RetryEventDelivery(uuid=row.uuid), "event-delivery.no-subscriber")
    assert await node.all(EventDelivery) == [row]
    for _ in range(2):
        await node.call(ForgetEventDelivery(uuid=row.uuid))
        await node.call(RetryEventDelivery(uuid=row.uuid))

    assert await node.all(EventDelivery) == []


async def test_an_event_that_is_owed_cannot_be_forgotten(node: SmallNode) -> None:
    row = set_aside(node, DeliveryState.OWED)
    await node.insert(row)

    await node.refused(ForgetEventDelivery(uuid=row.uuid), "event-delivery.owed")

    assert await node.all(EventDelivery) == [row]
