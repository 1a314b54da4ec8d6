from __future__ import annotations

from typing import cast

import pytest

from cairn.agents.protocol import codes
from cairn.agents.protocol.wire import AgentCommand, Result
from cairn.kernel.error import CairnError
from cairn.kernel.flow.step import NOTHING
from cairn.services.host.provided import HostAgents
from cairn.services.ids import HostId
from cairn.services.vm.model import VmState
from cairn.services.vm.steps.life import Former
from cairn.services.vm.steps.pause import PauseOnHost, ResumeOnHost
from cairn.services.vm.steps.stop import OnHostInput

GIVEN = OnHostInput(uuid="vm", former=Former(state=VmState.RUNNING, last_host_uuid=HostId("host")))


class Agents:
    """Notes what is asked of hosts; fails with a code, if it has one."""

    def __init__(self, code: str | None = None) -> None:
        self.code = code
        self.asked: list[str] = []

    async def call(self, host: str, command: AgentCommand[Result], *, timeout_seconds: float | None = None) -> None:
        self.asked.append(f"{command.name} on {host}")
        if self.code is not None:
            raise CairnError(self.code, "The host said no, for the test's sake.")


Step = type[PauseOnHost] | type[ResumeOnHost]


@pytest.mark.parametrize(
    ("step", "commands"),
    [(PauseOnHost, ["vm.pause", "vm.resume"]), (ResumeOnHost, ["vm.resume", "vm.pause"])],
)
async def test_each_is_undone_by_the_other(step: Step, commands: list[str]) -> None:
    agents = Agents()
    made = step(cast("HostAgents", agents))
    await made.do(GIVEN)
    await made.undo(GIVEN, NOTHING)
    assert agents.asked == [f"{command} on host" for command in commands]


@pytest.mark.parametrize("step", [PauseOnHost, ResumeOnHost])
async def test_a_vm_that_stopped_meanwhile_has_nothing_to_undo(step: Step) -> None:
    made = step(cast("HostAgents", Agents(codes.VM_NOT_RUNNING)))
    await made.undo(GIVEN, NOTHING)
    with pytest.raises(CairnError):
        await made.do(GIVEN)


@pytest.mark.parametrize("step", [PauseOnHost, ResumeOnHost])
async def test_a_host_that_cannot_be_asked_leaves_the_undo_to_be_done(step: Step) -> None:
    with pytest.raises(CairnError) as caught:
        await step(cast("HostAgents", Agents("agent.unreachable"))).undo(GIVEN, NOTHING)
    assert caught.value.code == "agent.unreachable"
