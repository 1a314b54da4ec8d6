"""Stopping and rebooting a VM."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from cairn.agents.protocol import vm as agent
from cairn.kernel.config import GlobalConfig
from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing
from cairn.services.host.provided import HostAgents
from cairn.services.vm import config
from cairn.services.vm.messages import StopType, StopVmInstance
from cairn.services.vm.steps.life import Former


class StopOnHostInput(Struct, frozen=True, kw_only=True):
    """The VM, the call that says how to stop it, and its former place."""

    uuid: str
    asked: StopVmInstance
    former: Former


class StopOnHost(ActionStep[StopOnHostInput, Nothing]):
    """Have the host stop the VM."""

    name = "vm.stop-on-host"
    title = "stopping the VM on its host"
    nothing_to_undo: ClassVar[str | None] = "a VM that was stopped is not started again behind its owner's back"

    def __init__(self, agents: HostAgents, settings: GlobalConfig) -> None:
        self._agents = agents
        self._settings = settings

    async def do(self, given: StopOnHostInput) -> Nothing:
        """Stop it; one that does not run there is success."""
        grace = float(self._settings.get(config.STOP_GRACE))
        command = agent.StopVm(vm=given.uuid, mode=given.asked.type.value, grace_seconds=grace)
        waits = given.asked.type is StopType.GRACE
        await self._agents.call(given.former.host, command, timeout_seconds=grace + 60.0, idle=waits)
        return NOTHING


class OnHostInput(Struct, frozen=True, kw_only=True):
    """The VM, and its state and place when the operation began."""

    uuid: str
    former: Former


class RebootOnHost(ActionStep[OnHostInput, Nothing]):
    """Have the host reboot the VM."""

    name = "vm.reboot-on-host"
    title = "rebooting the VM on its host"
    nothing_to_undo: ClassVar[str | None] = (
        "a reboot cannot be taken back; the reconciler corrects the VM's state if need be"
    )

    def __init__(self, agents: HostAgents, settings: GlobalConfig) -> None:
        self._agents = agents
        self._settings = settings

    async def do(self, given: OnHostInput) -> Nothing:
        """Reboot it; after a crash of this node possibly twice."""
        grace = float(self._settings.get(config.STOP_GRACE))
        command = agent.RebootVm(vm=given.uuid, grace_seconds=grace)
        await self._agents.call(given.former.host, command, timeout_seconds=grace + 120.0, idle=True)
        return NOTHING
