"""The highest epoch that this agent has heard of each resource, kept over its restarts.

They stand in one file, a line for each that rises, ``EPOCH RESOURCE``; the last line of a resource counts. A command begins
when its line is on the disk, which only the first one of an owner waits for; those that come together wait for one writing.
The file is written anew at the start and when most of it is old. Only the resources that were commanded last are remembered
(`protocol.fence.MOST_RESOURCES`), so those that are gone are forgotten when so many others have come.

An epoch that cannot be written down (a full disk) counts all the same until the agent ends: what deletes a file must go on.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from cairn.agents import log
from cairn.agents.blocking import in_thread
from cairn.agents.errors import AgentError
from cairn.agents.protocol import codes
from cairn.agents.protocol.fence import MOST_RESOURCES, Fence, note, refusal
from cairn.agents.state import write_atomically

#: of an epoch, at most
_DIGITS = 19


class Epochs:
    """Refuses commands of nodes that have lost their work to others.

    Args:
        path: of the file.
        most: resources that are remembered.
    """

    def __init__(self, path: Path, *, most: int = MOST_RESOURCES) -> None:
        self._path = path
        self._most = most
        self._known = _read(path)
        self._lines: int | None = None  #: in the file; None: it was not written yet
        self._pending: list[bytes] = []
        self._writing = asyncio.Lock()

    async def admit(self, fences: Sequence[Fence]) -> None:
        """Let a command begin, and remember its epochs. Safe to repeat.

        Raises:
            AgentError: ``agent.stale-epoch``.
        """
        self._check(fences)
        news = note(self._known, fences, self._most)
        if news:
            lines = [_line(fence.resource, fence.epoch) for fence in news]
            self._pending += lines
            async with self._writing:
                if any(one is lines[0] for one in self._pending):  # else they were written together with others
                    await self._write()
            self._check(fences)  # a higher one may have come meanwhile

    def _check(self, fences: Sequence[Fence]) -> None:
        why = refusal(self._known, fences)
        if why is not None:
            raise AgentError(codes.STALE_EPOCH, why)

    async def _write(self) -> None:
        lines, self._pending = self._pending, []
        try:
            if self._lines is None or self._lines + len(lines) > 2 * self._most:
                whole = [_line(resource, epoch) for resource, epoch in self._known.items()]
                await in_thread(write_atomically, self._path, b"".join(whole))
                self._lines = len(whole)
            else:
                await in_thread(_append, self._path, b"".join(lines))
                self._lines += len(lines)
        except OSError as error:
            self._lines = None
            log.warning("epochs.not-written", path=str(self._path), error=str(error))


def _append(path: Path, lines: bytes) -> None:
    with open(path, "ab", buffering=0) as file:
        file.write(lines)
        os.fdatasync(file.fileno())


def _line(resource: str, epoch: int) -> bytes:
    return f"{epoch} {resource}\n".encode()


def _read(path: Path) -> dict[str, int]:
    """What the file says. A line that was not written to its end is passed over."""
    known: dict[str, int] = {}
    try:
        text = path.read_bytes().decode(errors="replace")
    except FileNotFoundError:
        return known
    for line in text.splitlines(keepends=True):
        epoch, _, resource = line.partition(" ")
        if line.endswith("\n") and epoch.isascii() and epoch.isdigit() and len(epoch) <= _DIGITS:
            known.pop(resource[:-1], None)
            known[resource[:-1]] = int(epoch)
    return known
