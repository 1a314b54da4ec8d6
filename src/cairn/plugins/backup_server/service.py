"""Adding and changing backup servers."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from cairn.kernel.api import Reference
from cairn.kernel.bus.bus import Bus
from cairn.kernel.error import CairnError
from cairn.kernel.flow.engine import FlowEngine
from cairn.kernel.flow.workflow import Workflow
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.store.store import Store, Tx
from cairn.kernel.tag import Tags
from cairn.plugins.backup_server.driver import TYPE, checked_folder, existing
from cairn.plugins.backup_server.messages import (
    AddSftpBackupStorage,
    ReconnectSftpBackupStorage,
    UpdateSftpBackupStorage,
)
from cairn.plugins.backup_server.model import SftpBackupStorage
from cairn.plugins.backup_server.steps import check_hostname
from cairn.services.backup_storage.extensions import BackupStorageAgents, connect_queue
from cairn.services.backup_storage.messages import ReconnectBackupStorage, UpdateBackupStorage


class AddParameters(Struct, frozen=True, kw_only=True):
    """A new backup server."""

    backup_storage_uuid: str
    backup_storage_type: str
    name: str
    description: str | None
    url: str
    hostname: str
    username: str
    password: str | None
    private_key: str | None
    ssh_port: int
    system_tags: list[str]
    user_tags: list[str]


class AddAnswer(Struct, frozen=True, kw_only=True):
    """Which backup storage it is."""

    backup_storage_uuid: str


ADD = Workflow(
    name="backup-server.add",
    parameters=AddParameters,
    answer=AddAnswer,
    doc="Makes a Linux machine a backup storage: agent by Ansible, then connect.",
)


class BackupServerService:
    """Answers the messages about backup servers."""

    def __init__(
        self, bus: Bus, store: Store, flows: Callable[[], FlowEngine], tags: Tags, extensions: Extensions
    ) -> None:
        self._bus = bus
        self._store = store
        self._flows = flows
        self._tags = tags
        self._extensions = extensions
        bus.register(AddSftpBackupStorage, self.add)
        bus.register(UpdateSftpBackupStorage, self.update)
        bus.register(ReconnectSftpBackupStorage, self.reconnect)

    async def add(self, message: AddSftpBackupStorage) -> Reference:
        """Add a backup server."""
        self._tags.check("BackupStorage", message.system_tags)
        if not message.password and not message.private_key:
            raise CairnError(
                "backup-server.no-login",
                "There is no way to log in: give the password or a privateKey of the user on that machine.",
                fields={"password": "found nothing; a password, or a privateKey instead, would fit"},
            )
        assert message.resource_uuid is not None, "the gateway chooses the new backup storage's uuid"
        parameters = AddParameters(
            backup_storage_uuid=message.resource_uuid,
            backup_storage_type=TYPE,
            name=message.name,
            description=message.description,
            url=checked_folder(message.url),
            hostname=message.hostname,
            username=message.username,
            password=message.password,
            private_key=message.private_key,
            ssh_port=message.ssh_port,
            system_tags=list(message.system_tags),
            user_tags=list(message.user_tags),
        )
        answer = await self._flows().run(ADD, parameters, queue=connect_queue(parameters.backup_storage_uuid))
        return Reference(uuid=answer.backup_storage_uuid)

    async def update(self, message: UpdateSftpBackupStorage) -> Reference:
        """Change how to log in, then what every backup storage has. Both may be done twice."""
        given = {
            "hostname": message.hostname,
            "username": message.username,
            "password": message.password,
            "private_key": message.private_key,
            "ssh_port": message.ssh_port,
        }
        changed: dict[str, object] = {name: value for name, value in given.items() if value is not None}
        if "password" in changed and "private_key" not in changed:
            changed["private_key"] = None  # whoever gives a password wants it used

        def fn(tx: Tx) -> None:
            row = existing(tx, message.uuid)
            if message.hostname is not None:
                check_hostname(tx, message.hostname, row.uuid)
            if changed:
                tx.update(SftpBackupStorage, row.uuid, **changed)

        await self._store.write(fn)
        self._extensions.named(BackupStorageAgents, "backup_storage").forget(message.uuid)
        return await self._bus.call(
            UpdateBackupStorage(uuid=message.uuid, name=message.name, description=message.description)
        )

    async def reconnect(self, message: ReconnectSftpBackupStorage) -> Reference:
        """Connect again, as any backup storage."""
        return await self._bus.call(ReconnectBackupStorage(uuid=message.uuid))
