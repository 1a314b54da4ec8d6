"""The table of backup servers."""

from __future__ import annotations

from typing import Annotated, ClassVar

from cairn.kernel.machine.model import SshLogin
from cairn.kernel.store.record import Doc, Hidden, SubType, TableMeta, Text, Unique, Visible


class SftpBackupStorage(SshLogin, frozen=True, kw_only=True):
    """A Linux machine that keeps images in a folder."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="sftp_backup_storage",
        entity="SftpBackupStorage",
        noun="backup-storage",
        title="backup storage",
        visible=Visible.ADMIN,
        path="/backup-storage/sftp",
        extends=SubType(parent="backup_storage", column="type", value="SftpBackupStorage"),
        remembered=True,
    )

    hostname: Annotated[str, Unique(), Doc("where it is reached: an IPv4 address or a name")]
    folder: Annotated[str, Hidden(), Text(2048), Doc("the backup storage's url, at hand for every VM that is made")]
