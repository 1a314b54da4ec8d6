"""API messages about backup servers."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, ClassVar

from msgspec import Meta

from cairn.kernel.api import Http, Refers, Uuid, action, post
from cairn.kernel.error import invalid
from cairn.kernel.limits import CONNECT, CallLimit
from cairn.kernel.machine.messages import (
    Address,
    ApiReconnect,
    ApiUpdateLogin,
    HostKeyFingerprint,
    LoginGiven,
    Password,
    Port,
    PrivateKey,
    Username,
    check_address,
)
from cairn.kernel.words import PATH_PATTERN
from cairn.services.backup_storage.messages import AddBackupStorage


class AddSftpBackupStorage(LoginGiven, AddBackupStorage, frozen=True, kw_only=True, tag="backup-server.add"):
    """Make a Linux machine a backup storage: log in over SSH, put the agent there, prepare the folder for images.

    The machine's SSH host key is pinned: the one whose fingerprint is given, else the one that it shows at first sight, which
    `hostKeyFingerprint` tells from then on. Give a password or a private key. If anything fails the backup
    storage is not added. Attach it to zones then.

    Errors: ``ssh.no-login``, ``ssh.bad-key``, ``ssh.unreachable``, ``ssh.login-failed``, ``ssh.wrong-host-key``,
    ``machine.clock-wrong``, ``deploy.failed`` (with the failing task), ``backup-storage.machine-taken``,
    ``backup-server.hostname-taken``, ``backup-server.bad-url``, ``agent.path-refused``.
    """

    http: ClassVar[Http] = post("/backup-storage/sftp")
    storage_type: ClassVar[str] = "SftpBackupStorage"

    hostname: Address  #: an IPv4 address or a name; hosts and this node reach it there
    username: Username = "root"
    password: Password | None = None
    private_key: PrivateKey | None = None  #: in OpenSSH's or PEM form
    ssh_port: Port = 22
    #: that the machine's SSH host key must have, as ssh-keygen -l shows it; nothing is sent to a machine that shows another
    host_key_fingerprint: HostKeyFingerprint | None = None
    #: an absolute path: the folder for images
    url: Annotated[str, Meta(min_length=2, max_length=2048, pattern=PATH_PATTERN)]

    def check(self) -> None:
        """Refuse a call without a login, and a folder that cannot be one; the agent refuses system folders."""
        super().check()
        check_address("hostname", self.hostname)
        path = PurePosixPath(self.url)
        if not path.is_absolute() or ".." in path.parts or len(path.parts) < 2 or "\0" in self.url:
            fits = "an absolute path of a folder on that machine would fit, as /var/lib/cairn-backup"
            raise invalid("backup-server.bad-url", "url", self.url, fits)

    @property
    def folder(self) -> str:
        """The folder for images, without a slash at the end."""
        return "/" + "/".join(PurePosixPath(self.url).parts[1:])


class UpdateSftpBackupStorage(ApiUpdateLogin, frozen=True, kw_only=True, tag="backup-server.update"):
    """Change how to log in to a backup server, or its name, description or address; used at the next connect."""

    http: ClassVar[Http] = action("/backup-storage/sftp/{uuid}/actions", "updateSftpBackupStorage")
    entity: ClassVar[str | None] = "BackupStorage"

    uuid: Annotated[Uuid, Refers("SftpBackupStorage")]
    hostname: Address | None = None

    def check(self) -> None:
        """Refuse an address that could be read in two ways (``machine.bad-address``)."""
        super().check()
        check_address("hostname", self.hostname)


class ReconnectSftpBackupStorage(ApiReconnect, frozen=True, kw_only=True, tag="backup-server.reconnect"):
    """Connect to a backup server again, as `ReconnectBackupStorage` does. Safe to repeat."""

    http: ClassVar[Http] = action("/backup-storage/sftp/{uuid}/actions", "reconnectSftpBackupStorage")
    entity: ClassVar[str | None] = "SftpBackupStorage"
    limit: ClassVar[CallLimit | None] = CONNECT
