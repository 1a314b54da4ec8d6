"""Backup servers."""

from __future__ import annotations

from typing import Annotated, ClassVar

from cairn.kernel.store.record import Doc, Hidden, Key, Record, SubType, TableMeta, Text, Unique, Visible


class SftpBackupStorage(Record, frozen=True, kw_only=True):
    """A Linux machine that keeps images in a folder."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="sftp_backup_storage",
        entity="SftpBackupStorage",
        noun="backup-storage",
        title="backup storage",
        visible=Visible.ADMIN,
        path="/backup-storage/sftp",
        extends=SubType(parent="backup_storage", column="type", value="SftpBackupStorage"),
    )

    uuid: Annotated[str, Key()]
    hostname: Annotated[str, Unique(), Doc("where it is reached: an IPv4 address or a name")]
    username: Annotated[str, Doc("who Ansible logs in as")]
    password: Annotated[str | None, Hidden(), Text(1024)] = None
    private_key: Annotated[str | None, Hidden(), Text(None)] = None
    ssh_port: int = 22
    folder: Annotated[str, Hidden(), Text(2048), Doc("the backup storage's url, at hand for every VM that is made")]
