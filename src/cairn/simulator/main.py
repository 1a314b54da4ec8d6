"""The command ``cairn simulator``, which serves simulated hosts until it is stopped."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from pathlib import Path

import click
import uvloop
from msgspec import Struct

from cairn.kernel.agent.http import HttptoolsTransport, TransportError
from cairn.kernel.clock import SystemClock
from cairn.kernel.error import CairnError
from cairn.kernel.membership import FolderLock
from cairn.simulator.agents import SimulatedAgents
from cairn.simulator.control import Control
from cairn.simulator.plugins import commands_of, installed
from cairn.simulator.server import SimulatorServer
from cairn.simulator.world import LOCK_SUFFIX, Machine, World, load, new_world, save

_SAVE_SECONDS = 1.0
_SEND_SECONDS = 10.0


class Options(Struct, frozen=True, kw_only=True):
    """The options of the command line."""

    listen: str
    port: int
    hosts: int
    seed: int
    machine: Machine
    state: Path | None


@click.command()
@click.option("--listen", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=7190, show_default=True, type=click.IntRange(0, 65535), help="0: any free port.")
@click.option("--hosts", default=10, show_default=True, type=click.IntRange(0, 100_000), help="How many hosts.")
@click.option("--cpus", default=64, show_default=True, type=click.IntRange(1), help="Logical CPUs of each host.")
@click.option("--memory", default=256, show_default=True, type=click.IntRange(1), help="Memory of each host, GiB.")
@click.option("--disk", default=4096, show_default=True, type=click.IntRange(1), help="Disk of each host, GiB.")
@click.option("--seed", default=0, show_default=True, help="Of random delays and faults.")
@click.option(
    "--state",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to keep the world in; what it holds goes before --hosts, --cpus, --memory, --disk.",
)
def simulator(
    listen: str, port: int, hosts: int, cpus: int, memory: int, disk: int, seed: int, state: Path | None
) -> None:
    """Simulate hosts that answer the agents' commands over HTTP.

    Each host is at http://ADDRESS:PORT/hosts/NAME, named sim-0001, sim-0002 …; the backup server is at
    http://ADDRESS:PORT/hosts/backup. GET /inspect shows what is on them, POST /dials makes faults.
    """
    machine = Machine(cpu_num=cpus, memory_bytes=memory << 30, disk_bytes=disk << 30)
    options = Options(listen=listen, port=port, hosts=hosts, seed=seed, machine=machine, state=state)
    try:
        lock = None if state is None else FolderLock(state.absolute().parent, state.name + LOCK_SUFFIX)
        world = load(state) if state is not None and state.exists() else _fresh(options)
    except (ValueError, CairnError) as error:
        raise click.ClickException(str(error)) from error
    gc.set_threshold(50_000, 50, 100)
    try:
        uvloop.run(_serve(options, world))
    except OSError as error:
        raise click.ClickException(f"cannot listen on {listen}:{port}: {error.strerror or error}") from error
    finally:
        if lock is not None:
            lock.release()


def _fresh(options: Options) -> World:
    return new_world(options.hosts, seed=options.seed, machine=options.machine)


async def _serve(options: Options, world: World) -> None:
    clock = SystemClock()
    transport = HttptoolsTransport(clock)

    async def send(url: str, body: bytes) -> None:
        try:
            await transport.request("POST", url, body, _SEND_SECONDS)
        except TransportError as error:
            click.echo(f"lost: {url}: {error}", err=True)

    agents = SimulatedAgents(world, clock, send, more=commands_of(installed(os.environ)))
    server = SimulatorServer(agents, Control(agents, lambda: _fresh(options)))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    port = await server.start(options.listen, options.port)
    click.echo(f"simulator: {len(world.hosts) - 1} hosts at http://{options.listen}:{port}")
    saving = asyncio.create_task(_keep(agents, options.state), name="save the world")
    await stop.wait()
    saving.cancel()
    await asyncio.gather(saving, return_exceptions=True)
    if options.state is not None:
        save(agents.world, options.state)
    await server.stop()
    await transport.aclose()


async def _keep(agents: SimulatedAgents, state: Path | None) -> None:
    """Save the world about every second in which it may have changed, so that a killed simulator loses a second at most."""
    saved = -1
    while state is not None:
        if agents.changes != saved:
            saved = agents.changes
            save(agents.world, state)
        await agents.clock.sleep(_SAVE_SECONDS)


if __name__ == "__main__":
    simulator()
