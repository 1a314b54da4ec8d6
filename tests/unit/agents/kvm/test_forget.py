from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from tests.unit.agents.fakes import FakeClock, FakeHypervisor, FakePoster, FakeRunner

from cairn.agents.commands import Registry
from cairn.agents.delivery import Delivery
from cairn.agents.errors import AgentError
from cairn.agents.kvm.role import KvmRole
from cairn.agents.programs import Completed
from cairn.agents.protocol import codes
from cairn.agents.protocol.host import Connect, Forget
from cairn.agents.protocol.vm import PowerState
from cairn.agents.protocol.wire import AgentCommand, Done

HOST = "a" * 32


class World:
    def __init__(self, folder: Path) -> None:
        self.hypervisor = FakeHypervisor()
        clock = FakeClock()
        runner = FakeRunner({"ip -j": Completed(0, "[]"), "qemu-system": Completed(1)})
        delivery = Delivery(FakePoster(), clock)
        self.role = KvmRole(
            data=folder, hypervisor=self.hypervisor, runner=runner, delivery=delivery, clock=clock, tls=None
        )
        self.registry = Registry(self.role.areas)

    async def do(self, command: AgentCommand[Done]) -> None:
        await self.registry.run(command.name, msgspec.Raw(msgspec.json.encode(command)))


async def test_host_that_leaves_is_forgotten_twice_but_not_while_vms_run(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.registry.run("host.connect", msgspec.Raw(msgspec.json.encode(Connect(host=HOST))))
    world.hypervisor.domains["b" * 32] = PowerState.RUNNING
    with pytest.raises(AgentError) as caught:
        await world.do(Forget())
    assert caught.value.code == codes.BUSY
    assert world.role.host == HOST
    world.hypervisor.domains.clear()
    for _ in range(2):
        await world.do(Forget())
    assert world.role.host is None
