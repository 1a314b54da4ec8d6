"""``cairn bench restart``: kills the node with many jobs open, starts it again, and sees what becomes of them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import click
from msgspec import Struct

from cairn.cli import output
from cairn.cli.bench.around import command_of, kill
from cairn.cli.bench.crash import Aftermath, aftermath, is_clean, play, run_interrupted, show
from cairn.cli.bench.gauge import Process
from cairn.cli.bench.measuring import Cloud, Measuring, check_files
from cairn.cli.bench.measuring import show as show_cloud
from cairn.cli.bench.template import template_of
from cairn.cli.bench.wire import Origin
from cairn.cli.context import Context, common, pass_context
from cairn.cli.errors import CliError, Exit, refused
from cairn.cli.up.api import ClientApi

_LOOK_SECONDS = 0.02
_READY_SECONDS = 120.0


class Restarted(Struct, frozen=True, kw_only=True):
    """The result of a run."""

    ready_seconds: float  #: from the kill until the node took calls again
    calls: Aftermath
    cloud: Cloud  #: afterwards
    processes: list[Process]  #: the node's from its start


class Program:
    """A running program, and how it was started.

    Args:
        pid: of the process.
        proc: where the kernel shows processes.
    """

    def __init__(self, pid: int, proc: Path = Path("/proc")) -> None:
        self.pid = pid
        place = proc / str(pid)
        try:
            self.command = command_of(pid, proc)
            self._environment = dict(
                part.decode(errors="surrogateescape").split("=", 1)
                for part in (place / "environ").read_bytes().split(b"\0")
                if b"=" in part
            )
            self._folder = os.readlink(place / "cwd")
            self._output = os.readlink(place / "fd" / "1")
        except OSError as error:
            raise refused(
                f"How process {pid} was started cannot be seen: {error.strerror}. Run this as the user whose node it is.",
                code="bench.denied",
            ) from error

    def start(self) -> int:
        """Start it again, in a session of its own, with its output where it went before. Returns the number of the process."""
        target: int | Path = subprocess.DEVNULL
        if self._output.startswith("/") and Path(self._output).is_file():
            target = Path(self._output)
        log = target.open("ab") if isinstance(target, Path) else None
        try:
            started = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log or subprocess.DEVNULL,
                stderr=subprocess.STDOUT,
                env=self._environment,
                cwd=self._folder,
                start_new_session=True,
            )
        finally:
            if log is not None:
                log.close()
        return started.pid


@click.command("restart")
@click.option(
    "--count", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="Calls that create VMs."
)
@click.option(
    "--patience", type=click.IntRange(1, 3600), default=120, show_default=True, help="Seconds that an end may take."
)
@common
@pass_context
def restart(context: Context, count: int, patience: int) -> None:
    """Kill the only node of a cloud (kill -9) when all calls are jobs, start it again as it was started, and check the books.

    The node runs on this machine. The VMs are of the cloud that `cairn up --simulated` or `cairn bench hosts` made; they stay.
    """
    template = template_of(context, ClientApi(context.client))
    check_files(count)
    measuring = Measuring(context)
    if len(measuring.nodes) != 1:
        raise refused(
            f"{len(measuring.nodes)} nodes were found on this machine that serve {context.client.url}, and it takes one. For "
            "several: cairn bench failover.",
            code="bench.no-node",
        )
    program = Program(measuring.nodes[0].pid)
    load = play(measuring.origin, template, count, count, float(patience))
    ready = 0.0

    async def again() -> None:
        nonlocal ready
        begun = time.monotonic()
        kill(program.pid)
        await _gone(program.pid)
        program.start()
        ready = await _ready(measuring.origin, begun)

    run = run_interrupted(load, count, again)
    measuring = Measuring(context)
    result = Restarted(
        ready_seconds=round(ready, 2),
        calls=aftermath(run, context.client, template.prefix),
        cloud=measuring.cloud(),
        processes=measuring.all_time(),
    )
    if context.as_json:
        output.print_json(result)
    else:
        output.record(
            {
                "ready again after": f"{result.ready_seconds:.2f} s",
                **show(result.calls),
                **show_cloud(result.cloud, result.processes),
            }
        )
    if not is_clean(result.calls):
        sys.exit(Exit.REFUSED)


async def _gone(pid: int, proc: Path = Path("/proc")) -> None:
    """Wait until the process has let go of everything it had; its parent may leave a zombie."""
    while True:
        try:
            state = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            return
        if state in ("Z", "X"):
            return
        await asyncio.sleep(_LOOK_SECONDS)


async def _ready(origin: Origin, begun: float) -> float:
    """The seconds from `begun` until the node takes calls."""
    request = origin.request("GET", "/readyz")
    while time.monotonic() - begun < _READY_SECONDS:
        with suppress(CliError, ConnectionError):
            connection = await origin.connect()
            status, _ = await connection.exchange(request)
            connection.close()
            if status == 200:
                return time.monotonic() - begun
        await asyncio.sleep(_LOOK_SECONDS)
    raise refused("The node was started again and does not take calls. Look at its log.", code="bench.lost")
