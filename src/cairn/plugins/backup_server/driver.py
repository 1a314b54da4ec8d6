"""A Linux machine as a kind of backup storage: the agent by Ansible over SSH, spoken to over TLS.

The agent hands files out below ``/v1/images/``, by their path relative to the folder that it keeps them in.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from urllib.parse import quote

from cairn.kernel.agent.client import AgentEndpoint
from cairn.kernel.config import GlobalConfig
from cairn.kernel.deploy.installer import AgentInstaller
from cairn.kernel.deploy.ssh import SshTarget
from cairn.kernel.error import invalid, not_found
from cairn.kernel.flow.engine import report_progress
from cairn.kernel.store.store import Store, Tx
from cairn.plugins.backup_server import config
from cairn.plugins.backup_server.model import SftpBackupStorage

TYPE = "SftpBackupStorage"
_PLAYBOOKS = Path(__file__).parent / "ansible"


class BackupServerDriver:
    """Implements `BackupStorageDriver`."""

    def __init__(self, store: Store, installer: AgentInstaller, settings: GlobalConfig) -> None:
        self._store = store
        self._installer = installer
        self._settings = settings

    def endpoint(self, tx: Tx, storage: str) -> AgentEndpoint:
        """The agent at the server's address."""
        return AgentEndpoint(self._base_url(existing(tx, storage)))

    def image_url(self, tx: Tx, storage: str, path: str) -> str:
        """Below the agent's URL, by the path relative to the server's folder."""
        row = existing(tx, storage)
        return f"{self._base_url(row)}/v1/images/{quote(str(PurePosixPath(path).relative_to(row.folder)))}"

    async def deploy(self, storage: str) -> None:
        """Run the playbook; it changes nothing on a machine that is as it should be."""
        row = await self._store.read(lambda tx: existing(tx, storage))

        def progress(task: str, percent: int) -> None:
            report_progress(task, percent / 100)

        await self._installer.install(
            _PLAYBOOKS / "backup.yml",
            storage,
            self._target(row),
            settings={
                "port": self._settings.get(config.AGENT_PORT),
                "storage_path": row.folder,
                "file_url_dirs": folders(self._settings.get(config.FILE_FOLDERS)),
            },
            on_progress=progress,
        )

    async def remove(self, storage: str) -> None:
        """Run the playbook that takes the agent away; images that are left stay."""
        row = await self._store.read(lambda tx: existing(tx, storage))
        await self._installer.remove(_PLAYBOOKS / "remove.yml", storage, self._target(row))

    def removed(self, tx: Tx, storage: str) -> None:
        """Forget the pinned host key, the certificate and the key to log in."""
        tx.after_commit(lambda: self._installer.forget(storage))

    def _target(self, row: SftpBackupStorage) -> SshTarget:
        return self._installer.target(row.uuid, row.hostname, row.ssh_port, row.username, row.password, row.private_key)

    def _base_url(self, row: SftpBackupStorage) -> str:
        host = f"[{row.hostname}]" if ":" in row.hostname else row.hostname
        return f"https://{host}:{self._settings.get(config.AGENT_PORT)}"


def existing(tx: Tx, storage: str) -> SftpBackupStorage:
    """What only a backup server has (``backup-storage.not-found``)."""
    row = tx.get(SftpBackupStorage, storage)
    if row is None:
        raise not_found("backup-storage", "uuid", storage)
    return row


def folders(text: str) -> list[str]:
    """The folders that `config.FILE_FOLDERS` names."""
    return [folder.strip() for folder in text.split(",") if folder.strip()]


def checked_folder(url: str) -> str:
    """The folder for images, without a slash at the end (``backup-server.bad-url``); the agent refuses system folders."""
    path = PurePosixPath(url)
    if not path.is_absolute() or ".." in path.parts or len(path.parts) < 2 or "\0" in url:
        fits = "an absolute path of a folder on that machine would fit, as /var/lib/cairn-backup"
        raise invalid("backup-server.bad-url", "url", url, fits)
    return "/" + "/".join(path.parts[1:])
