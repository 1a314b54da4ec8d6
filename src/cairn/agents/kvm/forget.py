"""Cleans up a host that leaves the cloud."""

from __future__ import annotations

from cairn.agents.blocking import in_thread
from cairn.agents.commands import handles
from cairn.agents.errors import AgentError
from cairn.agents.facts import HostState
from cairn.agents.kvm.bridges import Bridges
from cairn.agents.kvm.filters import TapFilters
from cairn.agents.kvm.flat import Flat
from cairn.agents.kvm.hypervisor import Hypervisor
from cairn.agents.protocol import codes
from cairn.agents.protocol.host import Forget
from cairn.agents.protocol.vm import PowerState
from cairn.agents.protocol.wire import Done


class HostCleanup:
    """Takes away what cairn made on a host that leaves the cloud."""

    def __init__(
        self, state: HostState, hypervisor: Hypervisor, bridges: Bridges, flat: Flat, filters: TapFilters
    ) -> None:
        self._filters = filters
        self._state = state
        self._hypervisor = hypervisor
        self._bridges = bridges
        self._flat = flat

    @handles(Forget)
    async def forget(self, _: Forget) -> Done:
        """Stop reporting; take away networks, then bridges. Refused while VMs run."""
        states = await in_thread(self._hypervisor.states)
        running = sorted(vm for vm, state in states.items() if state in (PowerState.RUNNING, PowerState.PAUSED))
        if running:
            raise AgentError(codes.BUSY, f"VMs still run on this host: {', '.join(running[:10])}. Stop them first.")
        await in_thread(self._state.set, None)
        await self._flat.remove_all()
        await self._filters.clear()
        await self._bridges.remove_all()
        return Done()
