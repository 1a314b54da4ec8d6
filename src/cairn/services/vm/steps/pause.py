"""Pausing and resuming a VM on its host."""

from __future__ import annotations

from cairn.agents.protocol import codes
from cairn.agents.protocol.vm import PauseVm, ResumeVm
from cairn.kernel.error import CairnError
from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing
from cairn.services.host.provided import HostAgents
from cairn.services.ids import HostId
from cairn.services.vm.steps.stop import OnHostInput


class PauseOnHost(ActionStep[OnHostInput, Nothing]):
    """Have the host pause the VM."""

    name = "vm.pause-on-host"
    title = "pausing the VM on its host"

    def __init__(self, agents: HostAgents) -> None:
        self._agents = agents

    async def do(self, given: OnHostInput) -> Nothing:
        """Pause it; one that is paused already is success."""
        await self._agents.call(given.former.host, PauseVm(vm=given.uuid))
        return NOTHING

    async def undo(self, given: OnHostInput, made: Nothing | None) -> None:
        """Resume it; a VM that has stopped since stays as it is."""
        await _if_it_runs(self._agents, given.former.host, ResumeVm(vm=given.uuid))


class ResumeOnHost(ActionStep[OnHostInput, Nothing]):
    """Have the host resume the VM."""

    name = "vm.resume-on-host"
    title = "letting the VM go on"

    def __init__(self, agents: HostAgents) -> None:
        self._agents = agents

    async def do(self, given: OnHostInput) -> Nothing:
        """Resume it; one that runs already is success."""
        await self._agents.call(given.former.host, ResumeVm(vm=given.uuid))
        return NOTHING

    async def undo(self, given: OnHostInput, made: Nothing | None) -> None:
        """Pause it again; a VM that has stopped since stays as it is."""
        await _if_it_runs(self._agents, given.former.host, PauseVm(vm=given.uuid))


async def _if_it_runs(agents: HostAgents, host: HostId, command: PauseVm | ResumeVm) -> None:
    try:
        await agents.call(host, command)
    except CairnError as error:
        if error.code != codes.VM_NOT_RUNNING:
            raise
