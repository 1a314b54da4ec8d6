"""Callers in several processes: more connections than the system lets one process have, to one node or to several.

Each process opens its connections first and says so; then all begin at once. Their clock is the machine's monotonic one, so what
was in flight in all of them together is worked out afterwards, and nothing is counted between processes meanwhile.

    python -m cairn.cli.bench.crowd     # one process; what it is to do comes in on its standard input
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
import uuid
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import uvloop
from msgspec import Struct
from msgspec.structs import replace

from cairn.cli.bench.creation import Creation, Ended, Template
from cairn.cli.bench.wire import Connection, Origin
from cairn.cli.errors import refused
from cairn.kernel.files import open_more

#: a process has open beside its connections
OTHER_FILES = 100


class Part(Struct, frozen=True, kw_only=True):
    """What one process does."""

    urls: list[str]
    session: str
    ca_file: str | None
    template: Template
    count: int
    concurrency: int
    first: int  #: the number of its first connection, of all


class Outcome(Struct, frozen=True, kw_only=True):
    """What came of it."""

    ended: list[Ended]
    broken: int
    begun_at: list[float]  #: of each call, in seconds of the machine's monotonic clock
    ended_at: list[float]


class Crowd:
    """Creates many VMs from several processes; otherwise as `Creation`.

    Args:
        urls: the nodes that calls go to, in turn.
        session: of the caller.
        ca_file: the authority of nodes.
        template: of the VMs.
        count: how many.
        concurrency: how many are in flight at most, each on a connection of its own.
        processes: in how many processes.
        command: starts one.
    """

    def __init__(
        self,
        urls: Sequence[str],
        session: str,
        ca_file: Path | None,
        template: Template,
        count: int,
        concurrency: int,
        processes: int,
        command: Sequence[str] = (sys.executable, "-m", "cairn.cli.bench.crowd"),
    ) -> None:
        whole = Part(
            urls=list(urls),
            session=session,
            ca_file=None if ca_file is None else str(ca_file),
            template=template,
            count=count,
            concurrency=min(concurrency, count),
            first=0,
        )
        self._parts = divided(whole, processes)
        self._command = command
        self.ended: list[Ended] = []
        self.broken = 0
        self.largest_in_flight = 0

    async def run(self) -> None:
        """Create them all.

        Raises:
            CliError: ``bench.lost``: one of the processes did not come to its end.
        """
        processes: list[Process] = []
        try:
            for _ in self._parts:
                processes.append(await asyncio.create_subprocess_exec(*self._command, stdin=PIPE, stdout=PIPE))
            await asyncio.gather(*map(_prepare, processes, self._parts))
            outcomes = await asyncio.gather(*map(_finish, processes))
        finally:
            for process in processes:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        for outcome in outcomes:
            self.ended += outcome.ended
            self.broken += outcome.broken
        self.largest_in_flight = most_at_once(
            [at for outcome in outcomes for at in outcome.begun_at],
            [at for outcome in outcomes for at in outcome.ended_at],
        )


def divided(whole: Part, processes: int) -> list[Part]:
    """The work of so many processes, or of fewer where there is too little for so many."""
    processes = max(1, min(processes, whole.concurrency))
    parts, first, begun = [], 0, 0
    for number in range(1, processes + 1):
        count, concurrency = whole.count * number // processes, whole.concurrency * number // processes
        template = replace(whole.template, prefix=f"{whole.template.prefix}-{number}")
        part = replace(whole, template=template, count=count - begun, concurrency=concurrency - first, first=first)
        parts.append(part)
        first, begun = concurrency, count
    return parts


def most_at_once(begun: Iterable[float], ended: Iterable[float]) -> int:
    """The most that had begun and not ended. What ends when another begins is not at once with it."""
    changes = sorted([*((at, 1) for at in begun), *((at, -1) for at in ended)])
    now = most = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


def processes_for(connections: int) -> int:
    """In how many processes so many connections fit, by the system's limit of files to a process."""
    room = max(1, open_more(connections + OTHER_FILES) - OTHER_FILES)
    return -(-connections // room)


# -- one process ----------------------------------------------------------------------------------------------------


class _Origins(Origin):
    """Several nodes, and connections that are numbered through all processes."""

    def __init__(self, part: Part) -> None:
        ca_file = None if part.ca_file is None else Path(part.ca_file)
        super().__init__(part.urls[0], part.session, ca_file)
        self._all = [Origin(url, part.session, ca_file) for url in part.urls]
        self._first = part.first

    async def connect(self, number: int = 0) -> Connection:
        number += self._first
        return await self._all[number % len(self._all)].connect(number)


class _Watched(Creation):
    """Writes down when each call begins and ends."""

    def __init__(self, part: Part) -> None:
        super().__init__(
            _Origins(part), part.template, part.count, part.concurrency, part.concurrency, lambda: uuid.uuid4().hex
        )
        self.begun_at: list[float] = []
        self.ended_at: list[float] = []

    async def connected(self) -> None:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)

    def _began(self, more: int) -> None:
        super()._began(more)
        (self.begun_at if more > 0 else self.ended_at).append(time.monotonic())


async def _prepare(process: Process, part: Part) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(msgspec.json.encode(part) + b"\n")
    if await process.stdout.readline() != b"ready\n":
        raise refused("One of the processes that make calls could not connect; see above.", code="bench.lost")


async def _finish(process: Process) -> Outcome:
    told, _ = await process.communicate(b"go\n")
    if process.returncode or not told:
        raise refused("One of the processes that make calls did not come to its end; see above.", code="bench.lost")
    return msgspec.json.decode(told, type=Outcome)


def main() -> None:
    """Do what the standard input says, and write down what came of it."""
    part = msgspec.json.decode(sys.stdin.readline(), type=Part)
    open_more(part.concurrency + OTHER_FILES)
    gc.set_threshold(100_000, 50, 100)
    creation = _Watched(part)
    uvloop.run(creation.run())
    outcome = Outcome(
        ended=creation.ended, broken=creation.broken, begun_at=creation.begun_at, ended_at=creation.ended_at
    )
    sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")


if __name__ == "__main__":
    main()
