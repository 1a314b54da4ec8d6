"""How full the disks under the storage folders are, for every ping.

A ping has to be answered at once. A disk that hangs (a dead network file system, a controller that resets) holds up whoever
asks it, and a thread that hangs cannot be stopped. So a ping waits a moment for the measuring, and else tells what was
measured last; the next measuring begins only when the last one has ended.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from cairn.agents.blocking import in_thread
from cairn.agents.clock import Clock
from cairn.agents.errors import AgentError
from cairn.agents.files import Folders, capacity
from cairn.agents.protocol.wire import Space

_WAIT_SECONDS = 1.0


class Disks:
    """Measures the storage folders, one measuring at a time."""

    def __init__(self, folders: Folders, clock: Clock) -> None:
        self._folders = folders
        self._clock = clock
        self._measured: dict[str, Space] = {}
        self._measuring: asyncio.Task[None] | None = None

    async def spaces(self) -> dict[str, Space]:
        """Storage folder -> its space, as it is now, or as it was last known if the disks take long to answer."""
        if self._measuring is None or self._measuring.done():
            self._measuring = asyncio.create_task(self._measure(), name="measure disks")
        timer = asyncio.ensure_future(self._clock.sleep(_WAIT_SECONDS))
        try:
            await asyncio.wait({self._measuring, timer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
        return self._measured

    async def _measure(self) -> None:
        self._measured = await in_thread(_measure, self._folders.by_name)


def _measure(folders: dict[str, Path]) -> dict[str, Space]:
    spaces: dict[str, Space] = {}
    for name, path in folders.items():
        try:
            spaces[name] = capacity(path)
        except (AgentError, OSError):
            continue  # it is gone, or cannot be asked: nothing is known of it
    return spaces
