"""What a call to an agent costs: client and simulator CPU per call, over real HTTP on loopback.

Run: ``python tools/bench_agent_calls.py [--calls 50000] [--open 500] [--connections 32]``. The client is on uvloop, the
simulator is a process of its own. The command is `StartVm` of a running VM: 0.6 KB there, a small answer back.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import resource
import time
from pathlib import Path

import uvloop

from cairn.agents.protocol.network import EnsureBridge
from cairn.agents.protocol.storage import CreateVolume, InitStorage
from cairn.agents.protocol.vm import Disk, Hardware, Nic, StartVm
from cairn.kernel.agent.client import AgentClient, AgentEndpoint
from cairn.kernel.agent.http import AgentTransport, HttptoolsTransport
from cairn.kernel.clock import SystemClock
from cairn.kernel.ids import RandomIds
from cairn.testing.simulator import SimulatorProcess, running_simulator

VM = "0123456789ab4def8123456789abcdef"


def cpu_of(pid: int) -> float:
    """CPU seconds of a process, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def own_cpu() -> float:
    """CPU seconds of this process, user and system."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def command() -> StartVm:
    """A VM with two disks and two cards."""
    folder = "/var/lib/cairn-storage"
    return StartVm(
        hardware=Hardware(uuid=VM, name="bench", cpu_num=2, memory_size=2 << 30),
        disks=[Disk(path=f"{folder}/{n}.qcow2", device_id=n, volume=VM) for n in range(2)],
        nics=[Nic(mac=f"fa:16:3e:00:00:0{n}", bridge="br_bench", device=f"vnic{n}.0") for n in range(2)],
    )


async def prepare(client: AgentClient, endpoint: AgentEndpoint) -> None:
    """What the VM needs on the host."""
    await client.call(endpoint, InitStorage(path="/var/lib/cairn-storage"), timeout_seconds=10)
    await client.call(endpoint, EnsureBridge(bridge="br_bench"), timeout_seconds=10)
    for disk in command().disks:
        await client.call(endpoint, CreateVolume(path=disk.path, size_bytes=1 << 30), timeout_seconds=10)
    await client.call(endpoint, command(), timeout_seconds=10)


async def measure(name: str, calls: int, at_once: int, simulator: SimulatorProcess, transport: AgentTransport) -> None:
    """Make `calls` calls, `at_once` at a time, and print what they cost."""
    client = AgentClient(transport, SystemClock(), RandomIds(1), None)
    endpoints = [simulator.endpoint(f"sim-{number:04d}") for number in range(1, 51)]
    for endpoint in endpoints:
        await prepare(client, endpoint)
    start = command()
    left = iter(range(calls))

    async def typed() -> None:
        for number in left:
            await client.call(endpoints[number % 50], start, timeout_seconds=60)

    async def bare() -> None:
        for number in left:
            await transport.request("GET", endpoints[number % 50].base_url + "/v1/ping", None, 60)

    work = typed if name == "call" else bare
    before, server_before, wall = own_cpu(), cpu_of(simulator.process.pid), time.perf_counter()
    await asyncio.gather(*(work() for _ in range(at_once)))
    wall = time.perf_counter() - wall
    client_us = (own_cpu() - before) / calls * 1e6
    server_us = (cpu_of(simulator.process.pid) - server_before) / calls * 1e6
    print(f"{name:5} client {client_us:5.1f} us, simulator {server_us:5.1f} us a call; {calls / wall:8.0f} calls/s")


async def main() -> None:
    """Measure the transport alone (``ping``) and the typed client (``call``)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=50_000)
    parser.add_argument("--open", type=int, default=500, help="calls under way at once")
    parser.add_argument("--connections", type=int, default=32, help="connections to the simulator's address")
    options = parser.parse_args()
    gc.set_threshold(50_000, 50, 100)
    with running_simulator(hosts=50) as simulator:
        for name in ("ping", "call"):
            transport = HttptoolsTransport(SystemClock(), per_address=options.connections)
            await measure(name, options.calls, options.open, simulator, transport)
            await transport.aclose()


if __name__ == "__main__":
    uvloop.run(main())
