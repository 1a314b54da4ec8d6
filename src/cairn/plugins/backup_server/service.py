"""The backup server service: changes backup servers and connects to them again."""

from __future__ import annotations

from cairn.kernel.api import Reference
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.handlers import handles
from cairn.kernel.flow.workflow import workflow
from cairn.kernel.machine.ssh import change_login
from cairn.kernel.resource import taken
from cairn.kernel.store.store import Store, Tx
from cairn.plugins.backup_server.driver import check_hostname
from cairn.plugins.backup_server.messages import (
    AddSftpBackupStorage,
    ReconnectSftpBackupStorage,
    UpdateSftpBackupStorage,
)
from cairn.plugins.backup_server.model import SftpBackupStorage
from cairn.services.backup_storage.messages import ReconnectBackupStorage, UpdateBackupStorage

ADD = workflow(AddSftpBackupStorage, queue="backup-storage")


class BackupServerService:
    """Answers the messages about backup servers."""

    def __init__(self, bus: Bus, store: Store) -> None:
        self._bus = bus
        self._store = store

    @handles(UpdateSftpBackupStorage)
    async def update(self, message: UpdateSftpBackupStorage) -> Reference:
        """Change how to log in, then what every backup storage has. Both may be done twice."""

        def fn(tx: Tx) -> None:
            if message.hostname is not None:
                check_hostname(tx, message.hostname, message.uuid)
            change_login(tx, SftpBackupStorage, message)

        await self._store.write(fn)
        return await self._bus.call(taken(UpdateBackupStorage, message))

    @handles(ReconnectSftpBackupStorage)
    async def reconnect(self, message: ReconnectSftpBackupStorage) -> Reference:
        """Connect again, as any backup storage."""
        return await self._bus.call(taken(ReconnectBackupStorage, message))
