"""VMs that QEMU paused because the host's disk was full: they go on when there is room again.

QEMU stops a guest that writes where there is no room, before the guest sees an error, and does not start it again by itself.
Nothing is remembered here: which VMs wait is asked of the hypervisor each time, so an agent that was restarted goes on with it.
A VM that a user paused does not wait for room, and is left alone.
"""

from __future__ import annotations

from pathlib import Path

from cairn.agents import log
from cairn.agents.blocking import KeyedLocks, in_thread
from cairn.agents.clock import Clock
from cairn.agents.errors import AgentError
from cairn.agents.files import free_bytes
from cairn.agents.kvm.hypervisor import Hypervisor

_CHECK_SECONDS = 15.0
#: With less a VM would be paused again at once.
_ROOM_BYTES = 256 << 20


class FullDisks:
    """Watches for VMs that wait for room on a disk, and resumes them."""

    def __init__(self, hypervisor: Hypervisor, locks: KeyedLocks, clock: Clock) -> None:
        """`locks` are those of the commands on VMs, by their uuids."""
        self._hypervisor = hypervisor
        self._locks = locks
        self._clock = clock

    async def run(self) -> None:
        """Look now and then until cancelled."""
        while True:
            await self._clock.sleep(_CHECK_SECONDS)
            try:
                await self.look()
            except AgentError as error:
                log.warning("full-disks.not-looked-at", message=error.message)

    async def look(self) -> None:
        """Resume the VMs whose disks have room again. One that a command works on is waited for, and looked at anew."""
        for vm, disks in (await in_thread(self._hypervisor.out_of_space)).items():
            if not await in_thread(_have_room, disks):
                continue
            async with self._locks(vm):
                if vm in await in_thread(self._hypervisor.out_of_space):
                    log.info("vm.has-room-again", vm=vm)
                    await in_thread(self._hypervisor.resume, vm)


def _have_room(disks: list[str]) -> bool:
    return all(free_bytes(Path(disk).parent) >= _ROOM_BYTES for disk in disks)
