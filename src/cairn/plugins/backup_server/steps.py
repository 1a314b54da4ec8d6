"""Adding a backup server: the step that remembers how to log in."""

from __future__ import annotations

from msgspec import Struct

from cairn.kernel.deploy.installer import AgentInstaller
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.step import NOTHING, Nothing, TransactionStep
from cairn.kernel.store.store import Tx
from cairn.plugins.backup_server.model import SftpBackupStorage
from cairn.services.backup_storage.model import BackupStorage


class RecordBackupServerInput(Struct, frozen=True, kw_only=True):
    """Where it is, and how to log in."""

    backup_storage_uuid: str
    hostname: str
    username: str
    password: str | None
    private_key: str | None
    ssh_port: int
    url: str


class RecordBackupServer(TransactionStep[RecordBackupServerInput, Nothing]):
    """Write down where it is and how to log in."""

    name = "backup-server.record-login"
    title = "writing down how to log in"

    def __init__(self, installer: AgentInstaller) -> None:
        self._installer = installer

    def do(self, tx: Tx, given: RecordBackupServerInput) -> Nothing:
        """Refuse a second backup server with that address; else insert."""
        check_hostname(tx, given.hostname, given.backup_storage_uuid)
        tx.insert(
            SftpBackupStorage(
                uuid=given.backup_storage_uuid,
                hostname=given.hostname,
                username=given.username,
                password=given.password,
                private_key=given.private_key,
                ssh_port=given.ssh_port,
                folder=given.url,
            )
        )
        return NOTHING

    def undo(self, tx: Tx, given: RecordBackupServerInput, made: Nothing | None) -> None:
        """Forget it, and the key that was pinned."""
        tx.delete(SftpBackupStorage, given.backup_storage_uuid)
        tx.after_commit(lambda: self._installer.forget(given.backup_storage_uuid))


def check_hostname(tx: Tx, hostname: str, storage: str) -> None:
    """Refuse an address that another backup server has (``backup-server.hostname-taken``)."""
    others = [row for row in tx.find(SftpBackupStorage, hostname=hostname) if row.uuid != storage]
    if not others:
        return
    other = tx.get(BackupStorage, others[0].uuid)
    raise CairnError(
        "backup-server.hostname-taken",
        f"hostname: {hostname} is the backup storage {other.name if other else ''} ({others[0].uuid}) already. "
        "Reconnect that one, or delete it first.",
        kind=ErrorKind.CONFLICT,
        fields={"hostname": f"found {hostname!r}; an address that no other backup storage has would fit"},
    )
