from __future__ import annotations

import pytest
from tests.unit.services.vm.paper_agents import PaperAgents

from cairn.agents.protocol import vm as agent
from cairn.kernel.error import CairnError
from cairn.services.ids import HostId
from cairn.services.vm.messages import StopType, StopVmInstance
from cairn.services.vm.model import VmState
from cairn.services.vm.steps.life import Former
from cairn.services.vm.steps.stop import OnHostInput, RebootOnHost, StopOnHost, StopOnHostInput
from cairn.testing.cloud import Cloud

FORMER = Former(state=VmState.RUNNING, last_host_uuid=HostId("host"))
NOWHERE = Former(state=VmState.CREATED, last_host_uuid=None)


def stopping(how: StopType = StopType.GRACE, former: Former = FORMER) -> StopOnHostInput:
    return StopOnHostInput(uuid="vm", asked=StopVmInstance(uuid="vm", type=how), former=former)


@pytest.mark.parametrize("how", StopType)
async def test_the_host_stops_it_as_was_asked_and_is_waited_for_longer_than_the_vm_may_take(
    cloud: Cloud, how: StopType
) -> None:
    agents = PaperAgents()
    await cloud.call("UpdateGlobalConfig", category="vm", name="stop.grace", value="90")

    await StopOnHost(agents, cloud.node.context.config).do(stopping(how))

    assert agents.asked == ["vm.stop on host"]
    assert agents.commands == [(agent.StopVm(vm="vm", mode=how.value, grace_seconds=90.0), 150.0)]
    assert agents.idle == [how is StopType.GRACE]


async def test_a_reboot_has_time_for_stopping_and_starting(cloud: Cloud) -> None:
    agents = PaperAgents()
    await cloud.call("UpdateGlobalConfig", category="vm", name="stop.grace", value="90")

    await RebootOnHost(agents, cloud.node.context.config).do(OnHostInput(uuid="vm", former=FORMER))

    assert agents.asked == ["vm.reboot on host"]
    assert agents.commands == [(agent.RebootVm(vm="vm", grace_seconds=90.0), 210.0)]


async def test_a_host_that_says_no_is_told(cloud: Cloud) -> None:
    agents, settings = PaperAgents("agent.unreachable"), cloud.node.context.config
    for work in (
        StopOnHost(agents, settings).do(stopping()),
        RebootOnHost(agents, settings).do(OnHostInput(uuid="vm", former=FORMER)),
    ):
        with pytest.raises(CairnError) as caught:
            await work
        assert caught.value.code == "agent.unreachable"


async def test_a_vm_that_never_was_on_a_host_is_not_looked_for_on_one(cloud: Cloud) -> None:
    agents, settings = PaperAgents(), cloud.node.context.config
    for work in (
        StopOnHost(agents, settings).do(stopping(former=NOWHERE)),
        RebootOnHost(agents, settings).do(OnHostInput(uuid="vm", former=NOWHERE)),
    ):
        with pytest.raises(CairnError) as caught:
            await work
        assert caught.value.code == "vm.no-host"
    assert agents.asked == []
