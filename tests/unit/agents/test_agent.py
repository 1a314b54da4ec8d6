from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import aiohttp
import msgspec
from tests.ports import free_port
from tests.unit.agents.fakes import FakeClock, FakeHypervisor, FakePoster, FakeRunner

import cairn.agents
from cairn.agents.agent import Agent
from cairn.agents.commands import Registry
from cairn.agents.config import AgentConfig, Role
from cairn.agents.delivery import Delivery
from cairn.agents.kvm.role import KvmRole
from cairn.agents.protocol import codes, host, network, storage, trust, vm
from cairn.agents.protocol.machine import identity_here
from cairn.agents.protocol.wire import AgentCommand, Request

COMMANDS = {
    kind.name
    for module in (host, network, storage, trust, vm)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, AgentCommand) and kind is not AgentCommand
}


def kvm_names(tmp_path: Path) -> set[str]:
    clock = FakeClock()
    role = KvmRole(
        data=tmp_path,
        hypervisor=FakeHypervisor(),
        runner=FakeRunner(),
        delivery=Delivery(FakePoster(), clock),
        clock=clock,
        tls=None,
    )
    return set(Registry(role.areas).names)


def test_kvm_role_answers_every_command_but_those_of_the_backup_server(tmp_path: Path) -> None:
    assert COMMANDS - kvm_names(tmp_path) == {"backup.download-image", "agent.renew-trust"}, (
        "the latter is every agent's"
    )


async def test_backup_agent_lives_on_loopback(tmp_path: Path) -> None:
    port = free_port()
    config = AgentConfig(
        port=port, data_dir=str(tmp_path / "data"), storage_path=str(tmp_path / "images"), deployment="d1"
    )
    agent = Agent(config, Role.BACKUP)
    await agent.start()
    try:
        base = f"http://127.0.0.1:{port}/v1"
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{base}/ping") as response:
                pong = await response.json()
            assert (pong["host"], pong["protocol"], pong["vms"]) == (None, 1, {})
            assert (pong["machine"], pong["deployment"]) == (identity_here(), "d1")
            (tmp_path / "images" / "x").write_bytes(b"image")
            async with session.get(f"{base}/images/x") as response:
                assert await response.read() == b"image"
            body = msgspec.Raw(msgspec.json.encode(storage.GetCapacity(path=str(tmp_path / "none"))))
            request = Request(task="t", command="storage.capacity", body=body)
            async with session.post(f"{base}/commands", data=msgspec.json.encode(request)) as response:
                assert (await response.json())["error"]["code"] == codes.MISSING_FILE
    finally:
        await agent.stop()


def test_agents_import_nothing_of_the_management_side_and_no_libvirt_before_the_kvm_role() -> None:
    script = (
        "import sys, cairn.agents.main, cairn.agents.backup.role, cairn.agents.kvm.role\n"
        "print(*sorted(m for m in sys.modules if m.startswith('cairn.') and not m.startswith('cairn.agents')))\n"
        "print('libvirt' in sys.modules)\n"
        "print(*sorted({m.split('.')[0] for m in sys.modules} & {'click', 'sqlalchemy', 'cryptography', 'structlog'}))"
    )
    source = Path(cairn.agents.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], cwd=source, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["", "False", ""]
