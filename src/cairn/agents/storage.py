"""Storage commands that a KVM host and a backup server have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from cairn.agents.blocking import in_thread
from cairn.agents.commands import handles
from cairn.agents.errors import AgentError
from cairn.agents.files import Folders, capacity
from cairn.agents.protocol import codes
from cairn.agents.protocol.storage import Capacity, DeleteFile, GetCapacity, InitStorage
from cairn.agents.protocol.wire import Done


class Storage:
    """Prepared folders, their capacity, and the removal of files in them."""

    def __init__(self, folders: Folders, user_of: Callable[[str], Awaitable[str | None]] | None = None) -> None:
        """`user_of` tells which running VM uses a file; None: VMs do not run here."""
        self._folders = folders
        self._user_of = user_of

    @handles(InitStorage)
    async def init(self, command: InitStorage) -> Capacity:
        """Make the folder one that may hold volumes and images; see `Folders.prepare`."""
        return capacity(await in_thread(self._folders.prepare, command.path))

    @handles(GetCapacity)
    async def capacity(self, command: GetCapacity) -> Capacity:
        """Ask the file system how much there is and how much is free."""
        return await in_thread(capacity, Path(command.path))

    @handles(DeleteFile)
    async def delete(self, command: DeleteFile) -> Done:
        """Remove the file if it is in a prepared folder; a file that is being made there is waited for."""
        path = await in_thread(self._folders.confine, command.path)
        async with self._folders.locks(str(path)):
            user = await self._user_of(str(path)) if self._user_of is not None else None
            if user is not None:
                raise AgentError(codes.BUSY, f"{command.path} is a disk of the running VM {user}. Stop the VM first.")
            await in_thread(self._folders.delete, command.path)
        return Done()
