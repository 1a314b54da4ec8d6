"""The audit plugin on managed machines; found by the entry point of the group ``cairn.agents``."""

from __future__ import annotations

import time
from pathlib import Path

from cairn.agents.blocking import in_thread
from cairn.agents.commands import handles
from cairn.agents.config import Role
from cairn.agents.protocol.wire import Done
from cairn_audit.protocol import GetUptime, PutSeal, TakeSeal, Uptime


class AuditArea:
    """Answers the plugin's commands.

    Args:
        folder: where seals are kept, a file for each VM.
    """

    def __init__(self, folder: Path = Path("/var/lib/cairn-audit")) -> None:
        self._folder = folder

    @handles(GetUptime)
    async def uptime(self, command: GetUptime) -> Uptime:
        """Read the clock that began at the boot."""
        return Uptime(seconds=int(time.clock_gettime(time.CLOCK_BOOTTIME)))

    @handles(PutSeal)
    async def put(self, command: PutSeal) -> Done:
        """Write the file anew beside the old one, so that it is never there by halves."""

        def fn() -> None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self._path(command.vm)
            path.with_suffix(".new").write_text(command.number, encoding="ascii")
            path.with_suffix(".new").replace(path)

        await in_thread(fn)
        return Done()

    @handles(TakeSeal)
    async def take(self, command: TakeSeal) -> Done:
        """Remove the file."""
        await in_thread(self._path(command.vm).unlink, missing_ok=True)
        return Done()

    def _path(self, vm: str) -> Path:
        return self._folder / Path(vm).name  # whatever it is called, it stays in the folder


def make(role: Role) -> AuditArea:
    """Every machine has an uptime, whatever its role."""
    return AuditArea()
