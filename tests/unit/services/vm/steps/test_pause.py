from __future__ import annotations

import pytest
from tests.unit.services.vm.paper_agents import PaperAgents

from cairn.agents.protocol import codes
from cairn.kernel.error import CairnError
from cairn.kernel.flow.step import NOTHING
from cairn.services.ids import HostId
from cairn.services.vm.model import VmState
from cairn.services.vm.steps.life import Former
from cairn.services.vm.steps.pause import PauseOnHost, ResumeOnHost
from cairn.services.vm.steps.stop import OnHostInput

GIVEN = OnHostInput(uuid="vm", former=Former(state=VmState.RUNNING, last_host_uuid=HostId("host")))


Step = type[PauseOnHost] | type[ResumeOnHost]


@pytest.mark.parametrize(
    ("step", "commands"),
    [(PauseOnHost, ["vm.pause", "vm.resume"]), (ResumeOnHost, ["vm.resume", "vm.pause"])],
)
async def test_each_is_undone_by_the_other(step: Step, commands: list[str]) -> None:
    agents = PaperAgents()
    made = step(agents)
    await made.do(GIVEN)
    await made.undo(GIVEN, NOTHING)
    assert agents.asked == [f"{command} on host" for command in commands]


@pytest.mark.parametrize("step", [PauseOnHost, ResumeOnHost])
async def test_a_vm_that_stopped_meanwhile_has_nothing_to_undo(step: Step) -> None:
    made = step(PaperAgents(codes.VM_NOT_RUNNING))
    await made.undo(GIVEN, NOTHING)
    with pytest.raises(CairnError):
        await made.do(GIVEN)


@pytest.mark.parametrize("step", [PauseOnHost, ResumeOnHost])
async def test_a_host_that_cannot_be_asked_leaves_the_undo_to_be_done(step: Step) -> None:
    with pytest.raises(CairnError) as caught:
        await step(PaperAgents("agent.unreachable")).undo(GIVEN, NOTHING)
    assert caught.value.code == "agent.unreachable"
