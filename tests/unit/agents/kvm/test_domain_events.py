from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.unit.agents.fakes import FakeClock, FakeHypervisor, until

from cairn.agents.blocking import KeyedLocks
from cairn.agents.kvm.domain_events import FULL_DISK, DomainEvents
from cairn.agents.protocol.vm import PowerState

VM = "a" * 32


class World:
    def __init__(self) -> None:
        self.hypervisor = FakeHypervisor()
        self.hypervisor.domains[VM] = PowerState.RUNNING
        self.locks = KeyedLocks()
        self.told: list[tuple[str, PowerState, str]] = []
        self.events = DomainEvents(self.hypervisor, self.locks, FakeClock(), lambda *change: self.told.append(change))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    await made.events.look_at_all()
    yield made


async def test_vm_that_stops_by_itself_is_told_once_with_the_reason(world: World) -> None:
    world.hypervisor.domains[VM] = PowerState.STOPPED
    await world.events.look(VM, "crashed")
    await world.events.look(VM, "crashed")
    assert world.told == [(VM, PowerState.STOPPED, "crashed")]


async def test_vm_that_a_full_disk_paused_is_told_with_that_reason(world: World) -> None:
    world.hypervisor.domains[VM] = PowerState.PAUSED
    world.hypervisor.starved = {VM: ["/ps/a.qcow2"]}
    await world.events.look(VM, "paused")
    world.hypervisor.domains[VM] = PowerState.RUNNING
    await world.events.look(VM, "resumed")
    world.hypervisor.domains[VM], world.hypervisor.starved = PowerState.PAUSED, {}
    await world.events.look(VM, "paused")
    assert world.told == [
        (VM, PowerState.PAUSED, FULL_DISK),
        (VM, PowerState.RUNNING, "resumed"),
        (VM, PowerState.PAUSED, "paused"),
    ]


async def test_what_a_command_did_is_not_told(world: World) -> None:
    world.hypervisor.domains[VM] = PowerState.STOPPED
    world.events.expect(VM, PowerState.STOPPED)
    await world.events.look(VM, "destroyed")
    del world.hypervisor.domains[VM]
    world.events.forget(VM)
    await world.events.look(VM, "undefined")
    assert world.told == []


async def test_event_during_a_command_waits_for_its_end(world: World) -> None:
    async with world.locks(VM):
        world.hypervisor.domains[VM] = PowerState.STOPPED
        look = asyncio.create_task(world.events.look(VM, "shutdown"))
        await asyncio.sleep(0)
        world.hypervisor.domains[VM] = PowerState.RUNNING
    await look
    assert world.told == []


async def test_vm_that_was_there_when_the_agent_began_is_not_told(world: World) -> None:
    await world.events.look(VM, "started")
    assert world.told == []


async def test_what_happened_without_a_connection_is_found_afterwards(world: World) -> None:
    world.hypervisor.available = False
    await world.events.look(VM, "crashed")
    world.hypervisor.available = True
    world.hypervisor.domains = {"b" * 32: PowerState.RUNNING}
    await world.events.look_at_all()
    assert sorted(world.told) == [(VM, PowerState.STOPPED, "found"), ("b" * 32, PowerState.RUNNING, "found")]


async def test_while_running_it_hears_events_from_another_thread(world: World) -> None:
    running = asyncio.create_task(world.events.run())
    await until(lambda: world.hypervisor.noticed is not None)
    assert world.hypervisor.noticed is not None
    world.hypervisor.domains[VM] = PowerState.STOPPED
    await asyncio.to_thread(world.hypervisor.noticed, VM, "crashed")
    await until(lambda: bool(world.told))
    assert world.told == [(VM, PowerState.STOPPED, "crashed")]
    running.cancel()
    await asyncio.wait({running})
