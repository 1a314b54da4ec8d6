from __future__ import annotations

import asyncio

import pytest
from tests.unit.agents.fakes import FakeClock, FakeHypervisor, until

from cairn.agents.blocking import KeyedLocks
from cairn.agents.kvm.full_disks import FullDisks
from cairn.agents.protocol.vm import PowerState

VM, OTHER = "a" * 32, "b" * 32


class World:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free = {"/full": 0, "/empty": 1 << 40}
        self.hypervisor = FakeHypervisor()
        self.hypervisor.domains = {VM: PowerState.PAUSED, OTHER: PowerState.PAUSED}
        self.locks = KeyedLocks()
        self.clock = FakeClock()
        self.disks = FullDisks(self.hypervisor, self.locks, self.clock)
        monkeypatch.setattr("cairn.agents.kvm.full_disks.free_bytes", lambda path: self.free[str(path)])


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


async def test_vm_goes_on_when_its_disk_has_room(world: World) -> None:
    world.hypervisor.starved = {VM: ["/full/a.qcow2", "/empty/b.qcow2"]}
    await world.disks.look()
    assert world.hypervisor.switched == []
    world.free["/full"] = 1 << 30
    await world.disks.look()
    assert world.hypervisor.switched == [f"resume {VM}"]


async def test_vm_that_a_user_paused_is_left_alone(world: World) -> None:
    world.free["/full"] = 1 << 30
    await world.disks.look()
    assert world.hypervisor.switched == []


async def test_vm_that_a_command_ended_meanwhile_is_left_alone(world: World) -> None:
    world.hypervisor.starved = {VM: ["/empty/a.qcow2"]}
    async with world.locks(VM):
        looking = asyncio.create_task(world.disks.look())
        await asyncio.sleep(0)
        world.hypervisor.starved = {}
    await looking
    assert world.hypervisor.switched == []


async def test_watching_goes_on_when_libvirtd_does_not_answer(world: World) -> None:
    world.hypervisor.starved = {VM: ["/empty/a.qcow2"]}
    world.hypervisor.available = False
    running = asyncio.create_task(world.disks.run())
    await world.clock.advance(15)
    world.hypervisor.available = True
    for _ in range(3):
        await world.clock.advance(15)
    await until(lambda: bool(world.hypervisor.switched))
    running.cancel()
    await asyncio.wait({running})
    assert world.hypervisor.switched == [f"resume {VM}"]
