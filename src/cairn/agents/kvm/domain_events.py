"""Reports of VMs that changed by themselves.

libvirt's events come late, in a thread of their own, and even for what the agent's own commands did. So an event is
never believed; it is only a reason to look. Looking takes the VM's lock, so it happens between commands, and compares
what is with what is known: commands record the state that they left behind (`expect`), so their events find nothing
new. A VM is reported once per change, with the reason that the event gave.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Final

from cairn.agents import log
from cairn.agents.blocking import KeyedLocks, in_thread
from cairn.agents.clock import Clock
from cairn.agents.errors import AgentError
from cairn.agents.kvm.hypervisor import Hypervisor
from cairn.agents.protocol.vm import PowerState

_CHECK_SECONDS = 5.0

#: Why QEMU paused a VM that found no room to write.
FULL_DISK: Final = "the host's disk is full; the VM goes on when there is room"

#: Called with VM, state and reason of a change that no command made.
Changed = Callable[[str, PowerState, str], None]


class DomainEvents:
    """Remembers the states of all VMs, and reports a VM that changed by itself."""

    def __init__(self, hypervisor: Hypervisor, locks: KeyedLocks, clock: Clock, changed: Changed) -> None:
        self._hypervisor = hypervisor
        self._locks = locks
        self._clock = clock
        self._changed = changed
        self._known: dict[str, PowerState] | None = None
        self._looks: set[asyncio.Task[None]] = set()
        self._connected: bool | None = None

    def expect(self, vm: str, state: PowerState) -> None:
        """Remember that a command left the VM in `state`."""
        if self._known is not None:
            self._known[vm] = state

    def forget(self, vm: str) -> None:
        """Drop a VM that a command removed."""
        if self._known is not None:
            self._known.pop(vm, None)

    async def run(self) -> None:
        """Watch until cancelled; a libvirtd that was restarted is connected to again within seconds."""
        loop = asyncio.get_running_loop()
        self._hypervisor.watch(
            lambda vm, reason: _call_from_thread(loop, lambda: self.noticed(vm, reason)),
            lambda: _call_from_thread(loop, lambda: self._start(self.look_at_all(), "look at all VMs")),
        )
        try:
            while True:
                await self._check_connection()
                await self._clock.sleep(_CHECK_SECONDS)
        finally:
            for task in self._looks:
                task.cancel()

    def noticed(self, vm: str, reason: str) -> None:
        """Look at `vm` soon, because something happened to it."""
        self._start(self.look(vm, reason), f"look at {vm}")

    async def look(self, vm: str, reason: str) -> None:
        """Compare the VM with its remembered state, and report a difference."""
        async with self._locks(vm):
            try:
                state = await in_thread(self._hypervisor.state, vm) or PowerState.STOPPED
            except AgentError:
                return  # when the connection is there again, all are looked at
            if self._known is None or self._known.get(vm, PowerState.STOPPED) == state:
                return
            self._known[vm] = state
            reason = await self._why_paused(vm, reason) if state is PowerState.PAUSED else reason
        log.info("vm.changed-by-itself", vm=vm, state=state.value, reason=reason)
        self._changed(vm, state, reason)

    async def _why_paused(self, vm: str, reason: str) -> str:
        """The reason of a pause that nobody asked for: a full disk is told by its name."""
        try:
            return FULL_DISK if vm in await in_thread(self._hypervisor.out_of_space) else reason
        except AgentError:
            return reason

    async def look_at_all(self) -> None:
        """After a new connection: the first time just remember, later look for what was missed."""
        try:
            states = await in_thread(self._hypervisor.states)
        except AgentError:
            return
        if self._known is None:
            self._known = dict(states)
            return
        for vm in states.keys() | self._known.keys():
            await self.look(vm, "found")

    async def _check_connection(self) -> None:
        try:
            await in_thread(self._hypervisor.ensure_connected)
            if self._known is None:
                await self.look_at_all()
            self._connected = True
        except AgentError as error:
            if self._connected is not False:
                log.warning("libvirt.unreachable", message=error.message)
            self._connected = False

    def _start(self, look: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(look, name=name)
        self._looks.add(task)
        task.add_done_callback(self._looks.discard)


def _call_from_thread(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    """Call from libvirt's thread in the loop; once the loop has ended the call is not needed any more."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(function)
