"""What an agent can do to a creation: refuse a command, lose its answer, answer twice, be slow, be dead."""

from __future__ import annotations

import pytest
from tests.flows.world import broken_rules, hosts

from cairn.simulator.commands import COMMANDS
from cairn.simulator.dials import Dial
from cairn.testing.cloud import Cloud, Refused

#: what the first VM in a network on a host asks of the agent
CREATION = ("storage.cache-image", "storage.create-volume", "flat.ensure-dhcp", "vm.start")


def everything_runs_once(cloud: Cloud) -> None:
    """Each VM is on one host."""
    there = [vm for host in hosts(cloud).values() for vm in host.vms]
    assert len(there) == len(set(there))
    assert broken_rules(cloud) == []


def test_commands_of_a_creation_are_known() -> None:
    assert set(CREATION) <= set(COMMANDS)


@pytest.mark.parametrize("command", CREATION)
async def test_command_that_fails_undoes_the_creation(cloud: Cloud, command: str) -> None:
    cloud.agents.dials.turn(Dial(command=command, error_next=1))
    with pytest.raises(Refused) as refused:
        await cloud.create_vm("web")
    assert "simulated failure" in str(refused.value.problem)
    assert await cloud.query("VmInstance") == []
    assert broken_rules(cloud) == []
    await cloud.create_vm("web")
    everything_runs_once(cloud)


@pytest.mark.parametrize("command", CREATION)
async def test_answer_that_gets_lost_is_asked_for_again(cloud: Cloud, command: str) -> None:
    cloud.agents.dials.turn(Dial(command=command, lost_next=1))
    vm = await cloud.create_vm("web")
    assert vm["state"] == "Running"
    everything_runs_once(cloud)


@pytest.mark.parametrize("command", CREATION)
async def test_work_that_is_not_done_at_once_is_waited_for(cloud: Cloud, command: str) -> None:
    cloud.agents.dials.turn(Dial(command=command, slow=True, delay_seconds=12))
    await cloud.create_vm("web")
    everything_runs_once(cloud)


@pytest.mark.parametrize("command", CREATION)
async def test_call_back_that_gets_lost_is_asked_for(cloud: Cloud, command: str) -> None:
    cloud.agents.dials.turn(Dial(command=command, slow=True, delay_seconds=3, lost_rate=1.0))
    await cloud.create_vm("web")
    everything_runs_once(cloud)


@pytest.mark.parametrize("command", CREATION)
async def test_agent_that_restarts_in_the_middle_is_asked_anew(cloud: Cloud, command: str) -> None:
    cloud.agents.dials.turn(Dial(command=command, slow=True, delay_seconds=8))
    fields = cloud.vm_fields("web", host_uuid=cloud.site["host-1"])
    _, answer = await cloud.send("CreateVmInstance", **fields)
    await cloud.quiet(3)
    cloud.agents.restart_agent("sim-0001")
    await cloud.finish(str(answer["uuid"]))
    everything_runs_once(cloud)


async def test_every_answer_may_come_twice(cloud: Cloud) -> None:
    cloud.agents.dials.turn(Dial(duplicate_rate=1.0))
    cloud.transport.answer_twice = 3
    vm = await cloud.create_vm("web")
    await cloud.call("StopVmInstance", uuid=vm["uuid"])
    await cloud.call("StartVmInstance", uuid=vm["uuid"])
    everything_runs_once(cloud)


async def test_requests_and_answers_that_get_lost_on_the_way_do_no_harm(cloud: Cloud) -> None:
    for number in range(4):
        cloud.transport.lose_requests = 1
        cloud.transport.lose_answers = 2
        await cloud.create_vm(f"web-{number}")
        everything_runs_once(cloud)


async def test_unreliable_agents_leave_nothing_behind(cloud: Cloud) -> None:
    cloud.agents.dials.turn(
        Dial(error_rate=0.1, lost_rate=0.2, duplicate_rate=0.2, delay_seconds=0.0, delay_max_seconds=8)
    )
    jobs = []
    for number in range(30):
        _, answer = await cloud.send("CreateVmInstance", **cloud.vm_fields(f"vm-{number}"))
        jobs.append(str(answer["uuid"]))
    failed = 0
    for job in jobs:
        try:
            await cloud.finish(job)
        except Refused:
            failed += 1
    cloud.agents.dials.clear()
    await cloud.quiet(300)  # undos that failed are tried again, hosts that were lost come back
    assert 0 < failed < 30
    assert len(await cloud.query("VmInstance", "state=Running")) == 30 - failed
    everything_runs_once(cloud)


@pytest.mark.parametrize("command", CREATION)
async def test_host_that_dies_in_the_middle_fails_the_creation_and_is_cleaned_up_later(
    cloud: Cloud, command: str
) -> None:
    cloud.agents.dials.turn(Dial(host="sim-0001", command=command, slow=True, delay_seconds=8))
    fields = cloud.vm_fields("web", host_uuid=cloud.site["host-1"])
    _, answer = await cloud.send("CreateVmInstance", **fields)
    await cloud.quiet(3)
    cloud.agents.dials.turn(Dial(host="sim-0001", dead=True))
    began = cloud.clock.monotonic()
    with pytest.raises(Refused) as refused:
        await cloud.finish(str(answer["uuid"]))
    assert cloud.clock.monotonic() - began < 600
    assert refused.value.problem["kind"] in ("unavailable", "timeout"), refused.value.problem
    cloud.agents.dials.clear()
    await cloud.quiet(1500)  # it comes back: reconnected with a back-off, then what was left is undone
    assert await cloud.query("WorkflowRun") == []
    assert [host["status"] for host in await cloud.query("Host")] == ["Connected", "Connected"]
    assert broken_rules(cloud) == []


async def _start_that_cannot_be_undone(cloud: Cloud) -> str:
    """A stopped VM whose start failed on the host, with something left to undo."""
    vm = await cloud.create_vm("web")
    uuid = str(vm["uuid"])
    await cloud.call("StopVmInstance", uuid=uuid)
    cloud.agents.dials.turn(Dial(command="vm.start", error_next=1))
    cloud.agents.dials.turn(Dial(command="vm.destroy", error_rate=1.0))
    with pytest.raises(Refused) as refused:
        await cloud.call("StartVmInstance", uuid=uuid)
    assert "undoPending" in str(refused.value.problem)
    return uuid


async def test_what_is_still_to_be_undone_is_undone_before_the_next_operation(cloud: Cloud) -> None:
    uuid = await _start_that_cannot_be_undone(cloud)
    cloud.agents.dials.clear()
    vm = await cloud.call("StartVmInstance", uuid=uuid)
    assert vm["state"] == "Running"
    assert await cloud.query("WorkflowRun") == []
    await cloud.quiet(300)
    assert [row["state"] for row in await cloud.query("VmInstance")] == ["Running"]
    everything_runs_once(cloud)


async def test_operation_is_refused_while_something_cannot_be_undone(cloud: Cloud) -> None:
    uuid = await _start_that_cannot_be_undone(cloud)
    with pytest.raises(Refused) as refused:
        await cloud.call("StartVmInstance", uuid=uuid)
    assert refused.value.code == "workflow.undo-pending"
    await cloud.revive()
    with pytest.raises(Refused) as refused:
        await cloud.call("StartVmInstance", uuid=uuid)
    assert refused.value.code == "workflow.undo-pending"
    cloud.agents.dials.clear()
    await cloud.quiet(61)
    await cloud.call("StartVmInstance", uuid=uuid)
    everything_runs_once(cloud)


async def test_operator_settles_what_cannot_be_undone(cloud: Cloud) -> None:
    uuid = await _start_that_cannot_be_undone(cloud)
    (run,) = await cloud.query("WorkflowRun")
    assert run["state"] == "UndoFailed"
    assert "vm.start-on-host" in str(run["undoErrors"])
    await cloud.call("SettleWorkflowRun", uuid=run["uuid"])
    cloud.agents.dials.clear()
    await cloud.call("StartVmInstance", uuid=uuid)
    await cloud.quiet(300)
    assert [row["state"] for row in await cloud.query("VmInstance")] == ["Running"]
    everything_runs_once(cloud)
