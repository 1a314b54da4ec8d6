"""What plugins can do with backup storage: be a kind of it, and keep things on it."""

from __future__ import annotations

from typing import Protocol, TypeVar

from cairn.agents.protocol.wire import AgentCommand, Result
from cairn.kernel.agent.client import AgentEndpoint
from cairn.kernel.store.store import Tx

R = TypeVar("R", bound=Result)


def connect_queue(storage: str) -> str:
    """The queue in which a backup storage is added, connected and deleted; agent commands have one of their own."""
    return f"backup-storage-connect:{storage}"


class BackupStorageDriver(Protocol):
    """A kind of backup storage, named by its type (``SftpBackupStorage``).

    The synchronous ones are called inside transactions.
    """

    def endpoint(self, tx: Tx, storage: str) -> AgentEndpoint:
        """Where the backup storage's agent listens."""

    def image_url(self, tx: Tx, storage: str, path: str) -> str:
        """Where hosts fetch what is kept at `path`. It is asked for every VM: at most one read, by key."""

    async def deploy(self, storage: str) -> None:
        """Put the agent there, or see that it is there as it should be. Safe to repeat."""

    async def remove(self, storage: str) -> None:
        """Take the agent away. A server that cannot be reached is an error; nothing there is success."""

    def removed(self, tx: Tx, storage: str) -> None:
        """The backup storage's row goes now, and rows that extend it with it: forget what is kept elsewhere."""


class BackupStorageAgents(Protocol):
    """Provided by the backup storage service, under the name ``backup_storage``: the way to every agent."""

    async def call(self, storage: str, command: AgentCommand[R], *, timeout_seconds: float | None = None) -> R:
        """Have the backup storage's agent do something, in its queue (``backupStorage.parallelism`` at a time).

        Args:
            timeout_seconds: from the moment that its turn has come; None: ``backupStorage.command.timeout``.

        Raises:
            CairnError: ``backup-storage.not-found``; ``backup-storage.disconnected`` at once for one that is known to
                be lost; ``agent.unreachable``; or what the agent answers.
        """

    def forget(self, storage: str) -> None:
        """Its address has changed: look it up again at the next call."""


class BackupStorageContent(Protocol):
    """Keeps something on backup storage, and has a say when one is to go."""

    def why_not_remove(self, tx: Tx, storage: str) -> str | None:
        """What still needs the backup storage (``3 images are on it``), or None. Called inside a transaction."""

    async def remove_all(self, storage: str) -> None:
        """The backup storage goes, whatever is on it: remove what can be reached, forget the rest. Safe to repeat."""
