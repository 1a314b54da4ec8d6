"""The simulator as a process: started, killed, started again with what it had."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from cairn.agents.protocol.host import Connect
from cairn.agents.protocol.network import EnsureBridge
from cairn.kernel.agent.client import AgentClient
from cairn.kernel.agent.http import HttptoolsTransport
from cairn.kernel.clock import SystemClock
from cairn.kernel.ids import RandomIds
from cairn.testing.simulator import SimulatorProcess, running_simulator, start_simulator


async def connect_first_host(simulator: SimulatorProcess) -> str:
    transport = HttptoolsTransport(SystemClock())
    client = AgentClient(transport, SystemClock(), RandomIds(1), None)
    await client.call(simulator.endpoint("sim-0001"), Connect(host="a" * 32), timeout_seconds=5)
    await client.call(simulator.endpoint("sim-0001"), EnsureBridge(bridge="br0"), timeout_seconds=5)
    pong = await client.ping(simulator.endpoint("sim-0001"), 5)
    await transport.aclose()
    return pong.boot


async def test_world_survives_the_process_when_it_has_a_file(tmp_path: Path) -> None:
    state = tmp_path / "world.json"
    with running_simulator(hosts=2, state=state) as simulator:
        boot = await connect_first_host(simulator)
    with running_simulator(hosts=7, state=state) as simulator:
        transport = HttptoolsTransport(SystemClock())
        _, body = await transport.request("GET", f"{simulator.base_url}/inspect/summary", None, 5)
        assert msgspec.json.decode(body) | {"hosts": 2, "connected": 1, "bridges": 1} == msgspec.json.decode(body)
        client = AgentClient(transport, SystemClock(), RandomIds(2), None)
        pong = await client.ping(simulator.endpoint("sim-0001"), 5)
        assert pong.host == "a" * 32
        assert pong.boot != boot
        await transport.aclose()


async def test_stopping_is_safe_to_repeat() -> None:
    simulator = start_simulator(hosts=1)
    simulator.stop(kill=True)
    simulator.stop()
    assert simulator.process.returncode == -9


def test_port_in_use_is_told() -> None:
    with running_simulator(hosts=1) as simulator:
        port = int(simulator.base_url.rpartition(":")[2])
        with pytest.raises(RuntimeError, match="cannot listen on"):
            start_simulator(port=port)


def test_state_that_is_no_world_is_told(tmp_path: Path) -> None:
    state = tmp_path / "world.json"
    state.write_text("[]")
    with pytest.raises(RuntimeError, match="holds no simulated world"):
        start_simulator(state=state)
