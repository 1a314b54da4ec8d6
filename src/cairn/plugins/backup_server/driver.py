"""A Linux machine as a kind of backup storage: the agent by Ansible over SSH, spoken to over TLS.

The agent hands files out below ``/v1/images/``, by their path relative to the folder that it keeps them in.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from urllib.parse import quote

from cairn.kernel.api import ApiCreate
from cairn.kernel.deploy.inventory import Variable
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.machine.ssh import SshDriver, login_of
from cairn.kernel.resource import taken
from cairn.kernel.store.store import Tx
from cairn.plugins.backup_server import config
from cairn.plugins.backup_server.messages import AddSftpBackupStorage
from cairn.plugins.backup_server.model import SftpBackupStorage
from cairn.services.backup_storage.extensions import BackupStorageDriver
from cairn.services.backup_storage.model import BackupStorage

TYPE = "SftpBackupStorage"


class BackupServerDriver(SshDriver[SftpBackupStorage], BackupStorageDriver):
    """Linux machines that keep images in a folder."""

    record = SftpBackupStorage
    playbook = Path(__file__).parent / "ansible" / "backup.yml"
    port = config.AGENT_PORT

    def added(self, tx: Tx, uuid: str, asked: ApiCreate) -> None:
        """Refuse a second backup server with that address; else write down where it is and how to log in."""
        assert isinstance(asked, AddSftpBackupStorage)
        check_hostname(tx, asked.hostname, uuid)
        tx.insert(taken(SftpBackupStorage, asked, uuid=uuid, folder=asked.folder))

    def address(self, tx: Tx, login: SftpBackupStorage) -> str:
        """The address or name that the server was added with."""
        return login.hostname

    def variables(self, login: SftpBackupStorage) -> dict[str, Variable]:
        """The folder for images, and the folders from which images may be copied."""
        return {"storage_path": login.folder, "file_url_dirs": folders(self._settings.get(config.FILE_FOLDERS))}

    def image_url(self, tx: Tx, storage: str, path: str) -> str:
        """The URL below the agent's, by the path relative to the server's folder."""
        row = login_of(tx, SftpBackupStorage, storage)
        return f"{self.base_url(tx, row)}/v1/images/{quote(str(PurePosixPath(path).relative_to(row.folder)))}"


def folders(text: str) -> list[str]:
    """The folders that `config.FILE_FOLDERS` names."""
    return [folder.strip() for folder in text.split(",") if folder.strip()]


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
