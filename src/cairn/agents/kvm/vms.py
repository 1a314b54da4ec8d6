"""Commands about VMs. Those about the same VM are carried out one after another."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from cairn.agents.blocking import KeyedLocks, in_thread
from cairn.agents.clock import Clock
from cairn.agents.commands import handles
from cairn.agents.errors import AgentError
from cairn.agents.ids import check_uuid
from cairn.agents.kvm.accelerator import Accelerator
from cairn.agents.kvm.domain_events import DomainEvents
from cairn.agents.kvm.domain_xml import MACHINES, domain_xml
from cairn.agents.kvm.filters import TapFilters
from cairn.agents.kvm.hypervisor import Hypervisor
from cairn.agents.programs import ProgramRunner
from cairn.agents.protocol import codes
from cairn.agents.protocol.vm import (
    Console,
    DestroyVm,
    FilterTaps,
    GetConsole,
    ListVms,
    PauseVm,
    PowerState,
    RebootVm,
    ResumeVm,
    StartVm,
    StopVm,
    Tap,
    VmList,
    VmStatus,
)
from cairn.agents.protocol.wire import Done
from cairn.agents.state import Records

_ALIVE = (PowerState.RUNNING, PowerState.PAUSED)
_POLL_SECONDS = 0.25
#: A guest that is still booting misses the power button, so it is pressed again.
_PRESS_AGAIN_SECONDS = 4.0
MAX_CONSOLE_BYTES = 1 << 20
MAX_DISKS = 26


class VmRecord(Struct, frozen=True):
    """The traces of a VM that have to be removed even if libvirt has forgotten it."""

    vm: str
    taps: list[str] = []
    disks: list[str] = []  #: resolved
    filtered: list[Tap] = []  #: what its guest may send; empty in records of earlier versions


class Vms:
    """Starts, stops and shows VMs."""

    def __init__(
        self,
        *,
        hypervisor: Hypervisor,
        accelerator: Accelerator,
        events: DomainEvents,
        filters: TapFilters,
        locks: KeyedLocks,
        runner: ProgramRunner,
        records: Records[VmRecord],
        console_dir: Path,
        clock: Clock,
        sys_net: Path = Path("/sys/class/net"),
        architecture: str = platform.machine(),
    ) -> None:
        self._architecture = architecture
        self._hypervisor = hypervisor
        self._accelerator = accelerator
        self._events = events
        self._filters = filters
        self._locks = locks
        self._runner = runner
        self._records = records
        self._console_dir = console_dir
        self._clock = clock
        self._sys_net = sys_net

    @handles(StartVm)
    async def start(self, command: StartVm) -> VmStatus:
        """Check disks and bridges, then define and start the domain. One that is on already is success."""
        vm = command.hardware.uuid
        check_uuid("vm", vm)
        async with self._locks(vm):
            if await in_thread(self._hypervisor.state, vm) in _ALIVE:
                return await self._status(vm)
            await in_thread(self._check_devices, command)
            accelerator = await self._accelerator.choose(command.accelerator)
            xml = domain_xml(
                command,
                accelerator=accelerator,
                console_log=str(self._console(vm)),
                caches=await in_thread(_caches, [disk.path for disk in command.disks]),
            )
            await in_thread(self._remember, command)
            await self._filters.set(_taps(command))
            try:
                await in_thread(self._define_and_start, vm, xml)
            except AgentError:
                await self._filters.remove([nic.device for nic in command.nics])
                raise
            return await self._status(vm)

    @handles(StopVm)
    async def stop(self, command: StopVm) -> VmStatus:
        """Stop the VM as the mode says, and undefine its domain. One that is off already is success."""
        check_uuid("vm", command.vm)
        if command.mode not in ("grace", "cold"):
            raise AgentError(codes.BAD_REQUEST, f"mode: found {command.mode!r}; grace or cold would fit.")
        async with self._locks(command.vm):
            if command.mode == "grace":
                await self._shut_down(command.vm, command.grace_seconds)
            await in_thread(self._hypervisor.pull_plug, command.vm)
            await in_thread(self._hypervisor.undefine, command.vm)
            saved = await in_thread(self._records.record(command.vm).load)
            await self._filters.remove(saved.taps if saved is not None else [])
            return await self._status(command.vm)

    @handles(RebootVm)
    async def reboot(self, command: RebootVm) -> VmStatus:
        """Stop the VM and start it with the same definition (``agent.vm-not-running``)."""
        check_uuid("vm", command.vm)
        async with self._locks(command.vm):
            await self._alive(command.vm)
            await self._shut_down(command.vm, command.grace_seconds)
            await in_thread(self._hypervisor.pull_plug, command.vm)
            await in_thread(self._hypervisor.start, command.vm)
            return await self._status(command.vm)

    @handles(PauseVm)
    async def pause(self, command: PauseVm) -> VmStatus:
        """Stop the VM's processors; one that is paused already is success."""
        return await self._switch(command.vm, PowerState.PAUSED, self._hypervisor.suspend)

    @handles(ResumeVm)
    async def resume(self, command: ResumeVm) -> VmStatus:
        """Let a paused VM run on; one that runs already is success."""
        return await self._switch(command.vm, PowerState.RUNNING, self._hypervisor.resume)

    async def _switch(self, vm: str, wanted: PowerState, switch: Callable[[str], None]) -> VmStatus:
        check_uuid("vm", vm)
        async with self._locks(vm):
            if await self._alive(vm) is not wanted:
                await in_thread(switch, vm)
            return await self._status(vm)

    @handles(DestroyVm)
    async def destroy(self, command: DestroyVm) -> Done:
        """Remove all of the VM but its disks; nothing there is success."""
        check_uuid("vm", command.vm)
        async with self._locks(command.vm):
            await in_thread(self._hypervisor.pull_plug, command.vm)
            await in_thread(self._hypervisor.undefine, command.vm)
            self._events.forget(command.vm)
            record = self._records.record(command.vm)
            saved = await in_thread(record.load)
            for tap in saved.taps if saved is not None else []:
                if (self._sys_net / tap).exists():
                    await self._runner.run(["ip", "link", "delete", "dev", tap], check=False)
            await self._filters.remove(saved.taps if saved is not None else [])
            await in_thread(self._remove_console, command.vm)
            await in_thread(record.remove)
            return Done()

    @handles(FilterTaps)
    async def filter(self, command: FilterTaps) -> Done:
        """Remember what the guests of these VMs may send, and filter those that are on."""
        by_vm: dict[str, list[Tap]] = {}
        for tap in command.taps:
            by_vm.setdefault(check_uuid("taps.vm", tap.vm), []).append(tap)
        for vm, taps in by_vm.items():
            async with self._locks(vm):
                if await in_thread(self._hypervisor.state, vm) in _ALIVE:
                    await in_thread(self._remember_filters, vm, taps)
                    await self._filters.set(taps)
        return Done()

    async def restore_filters(self) -> None:
        """Filter exactly the taps of VMs that are on, as after a boot of the machine or a crash of the agent."""
        states = await in_thread(self._hypervisor.states)
        records = await in_thread(list, self._records)
        await self._filters.replace(tap for one in records if states.get(one.vm) in _ALIVE for tap in one.filtered)

    @handles(ListVms)
    async def list(self, _: ListVms) -> VmList:
        """List all VMs of cairn with their states and sizes."""
        return VmList(vms=await in_thread(self._hypervisor.states), sizes=await in_thread(self._hypervisor.sizes))

    @handles(GetConsole)
    async def console(self, command: GetConsole) -> Console:
        """Read the end of the console's log, and find the screen's port."""
        check_uuid("vm", command.vm)
        size = max(0, min(command.size_bytes, MAX_CONSOLE_BYTES))
        text = await in_thread(_tail, self._console(command.vm), size)
        port = await in_thread(self._hypervisor.vnc_port, command.vm)
        return Console(text=text, vnc_address="127.0.0.1" if port is not None else None, vnc_port=port)

    async def user_of(self, path: str) -> str | None:
        """Find the running VM that has the file `path` (resolved) as a disk."""
        for record in await in_thread(list, self._records):
            if path in record.disks and await in_thread(self._hypervisor.state, record.vm) in _ALIVE:
                return record.vm
        return None

    async def _alive(self, vm: str) -> PowerState:
        """Ask for the state of a VM that has to be on (``agent.vm-not-running``)."""
        state = await in_thread(self._hypervisor.state, vm)
        if state not in _ALIVE:
            raise AgentError(codes.VM_NOT_RUNNING, f"VM {vm} does not run on this host. Start it instead.")
        return state

    async def _status(self, vm: str) -> VmStatus:
        state = await in_thread(self._hypervisor.state, vm) or PowerState.STOPPED
        self._events.expect(vm, state)
        running = state in _ALIVE
        return VmStatus(state=state, vnc_port=await in_thread(self._hypervisor.vnc_port, vm) if running else None)

    def _remember(self, command: StartVm) -> None:
        taps = [nic.device for nic in command.nics]
        disks = [str(Path(disk.path).resolve()) for disk in command.disks]
        vm = command.hardware.uuid
        self._records.record(vm).save(VmRecord(vm, taps, disks, _taps(command)))

    def _remember_filters(self, vm: str, taps: Sequence[Tap]) -> None:
        record = self._records.record(vm)
        saved = record.load() or VmRecord(vm)
        known = {*saved.taps, *(tap.device for tap in taps)}
        record.save(msgspec.structs.replace(saved, taps=sorted(known), filtered=[*taps]))

    def _define_and_start(self, vm: str, xml: str) -> None:
        """Define and start in one thread's work, so that a start that was given up does not leave a definition behind."""
        self._hypervisor.define(vm, xml)
        try:
            self._hypervisor.start(vm)
        except AgentError:
            self._hypervisor.undefine(vm)
            raise

    async def _shut_down(self, vm: str, grace_seconds: float) -> None:
        """Press the power button until the guest is off, or until its time is up. A paused guest is resumed to notice it."""
        if await in_thread(self._hypervisor.state, vm) is PowerState.PAUSED:
            await in_thread(self._hypervisor.resume, vm)
        began = self._clock.monotonic()
        pressed_at: float | None = None
        while await in_thread(self._hypervisor.state, vm) in _ALIVE:
            now = self._clock.monotonic()
            if now - began >= grace_seconds:
                return
            if pressed_at is None or now - pressed_at >= _PRESS_AGAIN_SECONDS:
                pressed_at = now
                await in_thread(self._hypervisor.press_power_button, vm)
            await self._clock.sleep(_POLL_SECONDS)

    def _check_devices(self, command: StartVm) -> None:
        """Refuse a VM whose disks or bridges are missing, in words that are clearer than QEMU's."""
        self._console_dir.mkdir(parents=True, exist_ok=True)
        if command.hardware.architecture != self._architecture or self._architecture not in MACHINES:
            raise AgentError(
                codes.BAD_REQUEST,
                f"architecture: found {command.hardware.architecture}; this host is {self._architecture}, and VMs of "
                f"{', '.join(MACHINES)} are known.",
            )
        if len(command.disks) > MAX_DISKS or any(not 0 <= d.device_id < MAX_DISKS for d in command.disks):
            raise AgentError(
                codes.BAD_REQUEST, f"disks: at most {MAX_DISKS}, with device ids from 0 to {MAX_DISKS - 1}."
            )
        for disk in command.disks:
            if not Path(disk.path).is_file():
                raise AgentError(codes.MISSING_FILE, f"The disk {disk.path} is not on this host. Look at its storage.")
        for nic in command.nics:
            if not (self._sys_net / nic.bridge / "bridge").is_dir():
                raise AgentError(
                    codes.MISSING_BRIDGE, f"The bridge {nic.bridge} is not on this host. Reconnect the host to make it."
                )

    def _console(self, vm: str) -> Path:
        return self._console_dir / f"{vm}.log"

    def _remove_console(self, vm: str) -> None:
        """Delete the log, and the older ones that virtlogd has rotated away."""
        for path in self._console_dir.glob(f"{vm}.log*"):
            path.unlink(missing_ok=True)


def _taps(command: StartVm) -> list[Tap]:
    return [
        Tap(vm=command.hardware.uuid, device=nic.device, mac=nic.mac, addresses=nic.addresses) for nic in command.nics
    ]


def _tail(path: Path, size: int) -> str:
    """Read the last `size` bytes, going on in the rotated log if this one is short. No log: nothing was written."""
    data = b""
    for part in (path, path.with_name(path.name + ".0")):
        if len(data) < size and part.is_file():
            with part.open("rb") as file:
                file.seek(max(0, part.stat().st_size - (size - len(data))))
                data = file.read() + data
    return data[len(data) - min(size, len(data)) :].decode(errors="replace")


def _caches(paths: list[str]) -> dict[str, str]:
    """Choose ``none`` where the file system can do direct I/O (faster, and safe across live migration), else ``writeback``."""
    return {path: "none" if _direct_io(path) else "writeback" for path in paths}


def _direct_io(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT))
    except OSError:
        return False
    return True
