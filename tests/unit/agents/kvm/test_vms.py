from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.agents.fakes import FakeHypervisor, FakeRunner, RushingClock

from cairn.agents.blocking import KeyedLocks
from cairn.agents.errors import AgentError
from cairn.agents.kvm.accelerator import Accelerator, Verdict
from cairn.agents.kvm.domain_events import DomainEvents
from cairn.agents.kvm.filters import TapFilters
from cairn.agents.kvm.vms import VmRecord, Vms
from cairn.agents.protocol import codes
from cairn.agents.protocol.vm import (
    DestroyVm,
    Disk,
    FilterTaps,
    GetConsole,
    Hardware,
    ListVms,
    Nic,
    PauseVm,
    PowerState,
    RebootVm,
    ResumeVm,
    StartVm,
    StopVm,
    Tap,
)
from cairn.agents.state import Record, Records

VM = "a" * 32


def hardware(name: str = "t") -> Hardware:
    return Hardware(uuid=VM, name=name, cpu_num=1, memory_size=1 << 27)


class World:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hypervisor = FakeHypervisor()
        self.runner = FakeRunner()
        self.clock = RushingClock()
        self.net = folder / "net"
        (self.net / "br0" / "bridge").mkdir(parents=True)
        (folder / "root.qcow2").write_text("x")
        locks = KeyedLocks()
        self.vms = Vms(
            hypervisor=self.hypervisor,
            accelerator=Accelerator(
                self.runner, Record(folder / "accelerator.json", Verdict), device=folder / "no-kvm"
            ),
            events=DomainEvents(self.hypervisor, locks, self.clock, lambda *_: None),
            filters=TapFilters(self.runner, lambda _: None),
            locks=locks,
            runner=self.runner,
            records=Records(folder / "vms", VmRecord),
            console_dir=folder / "console",
            clock=self.clock,
            sys_net=self.net,
            architecture="x86_64",
        )

    def start(self, **changes: object) -> StartVm:
        disks = [Disk(path=str(self.folder / "root.qcow2"), device_id=0)]
        nics = [Nic(mac="fa:00:00:00:00:01", bridge="br0", device="vnic1.0")]
        fields = {"hardware": hardware(), "disks": disks, "nics": nics}
        return StartVm(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def refused(call: object, code: str) -> str:
    with pytest.raises(AgentError) as caught:
        await call  # type: ignore[misc]
    assert caught.value.code == code
    return caught.value.message


async def test_start_runs_the_vm_and_is_success_the_second_time(world: World) -> None:
    first = await world.vms.start(world.start())
    world.hypervisor.xml.clear()
    assert await world.vms.start(world.start()) == first
    assert (first.state, first.vnc_port) == (PowerState.RUNNING, 5900)
    assert world.hypervisor.xml == {}
    assert (await world.vms.list(ListVms())).vms == {VM: PowerState.RUNNING}


async def test_start_replaces_a_leftover_definition(world: World) -> None:
    world.hypervisor.domains[VM] = PowerState.STOPPED
    await world.vms.start(world.start(hardware=hardware("new")))
    assert "<title>new</title>" in world.hypervisor.xml[VM]


async def test_start_says_which_disk_or_bridge_is_missing(world: World) -> None:
    missing = [Disk(path="/none/x.qcow2", device_id=0)]
    assert "/none/x.qcow2" in await refused(world.vms.start(world.start(disks=missing)), codes.MISSING_FILE)
    nics = [Nic(mac="fa:00:00:00:00:01", bridge="br7", device="vnic1.0")]
    assert "br7" in await refused(world.vms.start(world.start(nics=nics)), codes.MISSING_BRIDGE)
    assert world.hypervisor.domains == {}


async def test_start_that_fails_leaves_no_definition(world: World) -> None:
    world.hypervisor.start_error = AgentError(codes.NO_MEMORY, "no memory")
    await refused(world.vms.start(world.start()), codes.NO_MEMORY)
    assert world.hypervisor.domains == {}


async def test_kvm_that_does_not_work_is_refused_with_the_reason(world: World) -> None:
    message = await refused(world.vms.start(world.start(accelerator="kvm")), codes.MISSING_ACCELERATOR)
    assert "no-kvm" in message
    await refused(world.vms.start(world.start(accelerator="magic")), codes.BAD_REQUEST)


async def test_graceful_stop_presses_the_button_and_undefines(world: World) -> None:
    await world.vms.start(world.start())
    for _ in range(2):
        assert (await world.vms.stop(StopVm(vm=VM))).state is PowerState.STOPPED
    assert world.hypervisor.presses == 1
    assert world.hypervisor.domains == {}


async def test_deaf_guest_is_pressed_again_and_stopped_when_its_time_is_up(world: World) -> None:
    world.hypervisor.deaf = True
    await world.vms.start(world.start())
    began = world.clock.now
    await world.vms.stop(StopVm(vm=VM, grace_seconds=10))
    assert 10 <= world.clock.now - began < 11
    assert world.hypervisor.presses == 3
    assert world.hypervisor.domains == {}


async def test_cold_stop_does_not_ask(world: World) -> None:
    await world.vms.start(world.start())
    await world.vms.stop(StopVm(vm=VM, mode="cold"))
    assert world.hypervisor.presses == 0
    await refused(world.vms.stop(StopVm(vm=VM, mode="warm")), codes.BAD_REQUEST)


async def test_reboot_keeps_the_definition_and_wants_a_running_vm(world: World) -> None:
    await refused(world.vms.reboot(RebootVm(vm=VM)), codes.VM_NOT_RUNNING)
    await world.vms.start(world.start())
    assert (await world.vms.reboot(RebootVm(vm=VM))).state is PowerState.RUNNING
    assert world.hypervisor.presses == 1


async def test_pause_and_resume_are_success_when_it_is_so_already(world: World) -> None:
    await world.vms.start(world.start())
    for _ in range(2):
        assert (await world.vms.pause(PauseVm(vm=VM))).state is PowerState.PAUSED
    for _ in range(2):
        assert (await world.vms.resume(ResumeVm(vm=VM))).state is PowerState.RUNNING
    assert world.hypervisor.switched == [f"suspend {VM}", f"resume {VM}"]


async def test_only_a_vm_that_is_on_is_paused_or_resumed(world: World) -> None:
    await refused(world.vms.pause(PauseVm(vm=VM)), codes.VM_NOT_RUNNING)
    world.hypervisor.domains[VM] = PowerState.STOPPED
    await refused(world.vms.resume(ResumeVm(vm=VM)), codes.VM_NOT_RUNNING)
    await refused(world.vms.pause(PauseVm(vm="../x")), codes.BAD_REQUEST)
    assert world.hypervisor.switched == []


async def test_paused_vm_hears_the_power_button(world: World) -> None:
    await world.vms.start(world.start())
    await world.vms.pause(PauseVm(vm=VM))
    began = world.clock.now
    assert (await world.vms.stop(StopVm(vm=VM))).state is PowerState.STOPPED
    assert (world.hypervisor.presses, world.clock.now - began < 1) == (1, True)


async def test_destroy_leaves_nothing_but_the_disks_and_finds_nothing_the_second_time(world: World) -> None:
    await world.vms.start(world.start())
    (world.net / "vnic1.0").mkdir()
    for name in (f"{VM}.log", f"{VM}.log.0"):
        (world.folder / "console" / name).write_text("x")
    await world.vms.destroy(DestroyVm(vm=VM))
    await world.vms.destroy(DestroyVm(vm=VM))
    assert world.hypervisor.domains == {}
    assert [line for line in world.runner.ran if line.startswith("ip")] == ["ip link delete dev vnic1.0"]
    assert list((world.folder / "console").iterdir()) == []
    assert list((world.folder / "vms").iterdir()) == []
    assert (world.folder / "root.qcow2").exists()


async def test_disk_has_a_user_only_while_the_vm_runs(world: World) -> None:
    disk = str((world.folder / "root.qcow2").resolve())
    await world.vms.start(world.start())
    assert await world.vms.user_of(disk) == VM
    assert await world.vms.user_of("/other") is None
    await world.vms.stop(StopVm(vm=VM, mode="cold"))
    assert await world.vms.user_of(disk) is None


async def test_console_is_the_end_of_the_log_with_the_rotated_one_before_it(world: World) -> None:
    await world.vms.start(world.start())
    (world.folder / "console" / f"{VM}.log").write_text("new")
    (world.folder / "console" / f"{VM}.log.0").write_text("older ")
    assert (await world.vms.console(GetConsole(vm=VM))).text == "older new"
    assert (await world.vms.console(GetConsole(vm=VM, size_bytes=5))).text == "r new"
    assert (await world.vms.console(GetConsole(vm=VM, size_bytes=2))).text == "ew"
    assert (await world.vms.console(GetConsole(vm="b" * 32))).text == ""


@pytest.mark.parametrize("vm", ["", "../" + "a" * 29, "A" * 32])
async def test_wrong_uuid_never_becomes_a_path(world: World, vm: str) -> None:
    await refused(world.vms.destroy(DestroyVm(vm=vm)), codes.BAD_REQUEST)
    await refused(world.vms.console(GetConsole(vm=vm)), codes.BAD_REQUEST)


def filtered(world: World) -> bool | None:
    """Whether the tap was last filtered, or last forgotten; None: neither."""
    said = [text for line, text in zip(world.runner.ran, world.runner.stdin, strict=True) if line == "nft -f -"]
    return "delete element" not in said[-1] and "jump sends-vnic1.0" in said[-1] if said else None


async def test_tap_is_filtered_before_the_guest_runs_and_forgotten_after(world: World) -> None:
    at_start: list[bool | None] = []
    start = world.hypervisor.start

    def look(vm: str) -> None:
        at_start.append(filtered(world))
        start(vm)

    world.hypervisor.start = look  # type: ignore[method-assign]
    for end in (world.vms.stop(StopVm(vm=VM)), world.vms.destroy(DestroyVm(vm=VM))):
        await world.vms.start(world.start())
        assert filtered(world)
        await end
        assert filtered(world) is False
    assert at_start == [True, True]


async def test_tap_of_a_vm_that_did_not_start_is_forgotten(world: World) -> None:
    world.hypervisor.start_error = AgentError(codes.NO_MEMORY, "no memory")
    await refused(world.vms.start(world.start()), codes.NO_MEMORY)
    assert filtered(world) is False


async def test_filters_are_restored_for_guests_that_are_on_and_for_no_others(world: World) -> None:
    await world.vms.start(world.start())
    await world.vms.restore_filters()
    assert filtered(world)
    world.hypervisor.domains[VM] = PowerState.STOPPED
    await world.vms.restore_filters()
    assert "jump sends-vnic1.0" not in world.runner.stdin[-1]


async def test_filters_of_a_vm_that_an_earlier_agent_started_are_set_and_remembered(world: World) -> None:
    command = FilterTaps(taps=[Tap(vm=VM, device="vnic1.0", mac="fa:00:00:00:00:01", addresses=["10.0.0.5"])])
    await world.vms.filter(command)
    assert filtered(world) is None
    world.hypervisor.domains[VM] = PowerState.RUNNING
    await world.vms.filter(command)
    assert filtered(world)
    await world.vms.restore_filters()
    assert filtered(world)
    await world.vms.stop(StopVm(vm=VM, mode="cold"))
    assert filtered(world) is False


async def test_vm_of_another_architecture_is_refused(world: World) -> None:
    strange = Hardware(uuid=VM, name="t", cpu_num=1, memory_size=1 << 27, architecture="aarch64")
    assert "x86_64" in await refused(world.vms.start(world.start(hardware=strange)), codes.BAD_REQUEST)
