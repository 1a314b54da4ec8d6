"""What can be asked of backup servers."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from cairn.kernel.api import (
    ApiCommand,
    ApiCreate,
    Description,
    Http,
    Name,
    Reference,
    Refers,
    Secret,
    Uuid,
    action,
    post,
)

Address = Annotated[str, Meta(min_length=1, max_length=253, pattern=r"^[0-9A-Za-z_:][0-9A-Za-z_.:%-]*$")]
Port = Annotated[int, Meta(ge=1, le=65535)]
Username = Annotated[str, Meta(min_length=1, max_length=64)]
Password = Annotated[str, Meta(max_length=255), Secret()]
PrivateKey = Annotated[str, Meta(max_length=16384), Secret()]


class AddSftpBackupStorage(ApiCreate, frozen=True, kw_only=True, tag="backup-server.add"):
    """Make a Linux machine a backup storage: log in over SSH, put the agent there, prepare the folder for images.

    The machine's host key is pinned at first sight. Give a password or a private key. If anything fails the backup
    storage is not added. Attach it to zones then.

    Errors: ``ssh.unreachable``, ``ssh.login-failed``, ``ssh.host-key-changed``, ``deploy.failed`` (with the failing task),
    ``backup-server.hostname-taken``, ``backup-server.bad-url``, ``backup-server.no-login``, ``agent.path-refused``.
    """

    route: ClassVar[str | None] = "resource_uuid"
    http: ClassVar[Http] = post("/backup-storage/sftp")
    entity: ClassVar[str | None] = "BackupStorage"

    name: Name
    description: Description | None = None
    hostname: Address  #: an IPv4 address or a name; hosts and this node reach it there
    username: Username = "root"
    password: Password | None = None
    private_key: PrivateKey | None = None  #: in OpenSSH's or PEM form
    ssh_port: Port = 22
    url: Annotated[str, Meta(min_length=2, max_length=2048)]  #: an absolute path: the folder for images


class UpdateSftpBackupStorage(ApiCommand[Reference], frozen=True, kw_only=True, tag="backup-server.update"):
    """Change how to log in to a backup server, or its name, description or address; used at the next connect."""

    route: ClassVar[str | None] = "uuid"
    http: ClassVar[Http] = action("/backup-storage/sftp/{uuid}/actions", "updateSftpBackupStorage")
    entity: ClassVar[str | None] = "BackupStorage"

    uuid: Annotated[Uuid, Refers("SftpBackupStorage")]
    name: Name | None = None
    description: Description | None = None
    hostname: Address | None = None
    username: Username | None = None
    password: Password | None = None
    private_key: PrivateKey | None = None
    ssh_port: Port | None = None


class ReconnectSftpBackupStorage(ApiCommand[Reference], frozen=True, kw_only=True, tag="backup-server.reconnect"):
    """Put a backup server's agent right and connect to it again. Safe to repeat."""

    route: ClassVar[str | None] = "uuid"
    http: ClassVar[Http] = action("/backup-storage/sftp/{uuid}/actions", "reconnectSftpBackupStorage")
    entity: ClassVar[str | None] = "SftpBackupStorage"

    uuid: Annotated[Uuid, Refers("SftpBackupStorage")]
