"""Files that were to be removed from backup storage while it could not be reached.

Each is a row, until the file is gone. A row outlives its backup storage: a machine that is added again owes what it owed before.
Each backup storage is asked in a task of its own, so one that hangs holds up no other.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import structlog

from cairn.agents.protocol.storage import DeleteFile
from cairn.kernel.bus.handlers import handles
from cairn.kernel.bus.tasks import Tasks
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.ids import IdSource, NodeId
from cairn.kernel.jobs import Jobs
from cairn.kernel.machine.model import MachineStatus
from cairn.kernel.ring import Ring
from cairn.kernel.store.store import Store, Tx
from cairn.services.backup_storage.messages import DeleteBackupStorageDebt
from cairn.services.backup_storage.model import BackupStorage, BackupStorageDebt
from cairn.services.backup_storage.provided import BackupStorageAgents, BackupStorageDebts
from cairn.services.ids import BackupStorageId

_log = structlog.get_logger("cairn.backup-storage")
ROUND_SECONDS = 300.0
_REASON_CHARACTERS = 2000
_REMOVAL_SECONDS = 60.0
_MOST = 1000  #: of one backup storage in one round
_OUT_OF_REACH = frozenset({ErrorKind.UNAVAILABLE, ErrorKind.TIMEOUT})


class FileDebts(BackupStorageDebts):
    """Notes debts, and collects them from backup storage that is connected."""

    def __init__(
        self, store: Store, ids: IdSource, jobs: Jobs, agents: BackupStorageAgents, ring: Ring, node: NodeId
    ) -> None:
        self._store = store
        self._ids = ids
        self._jobs = jobs
        self._agents = agents
        self._ring = ring
        self._node = node
        self._busy: set[BackupStorageId] = set()
        self._tasks = Tasks()
        self._returned: Callable[[], None] = _nobody

    def listen(self, returned: Callable[[], None]) -> None:
        """Call `returned` whenever a backup storage that owes something is connected."""
        self._returned = returned

    async def start(self) -> None:
        """Nothing to begin: `collect` is called from time to time."""

    async def stop(self) -> None:
        """End what is being collected. Safe to repeat."""
        await self._tasks.stop()

    def owe(self, tx: Tx, storage: BackupStorageId, path: str, reason: str) -> None:
        """Write a debt down, once; see `BackupStorageDebts`."""
        row = tx.get(BackupStorage, storage)
        if row is None or tx.count(BackupStorageDebt, backup_storage_uuid=storage, path=path):
            return
        debt = BackupStorageDebt(
            uuid=self._ids.new(),
            backup_storage_uuid=storage,
            backup_storage_name=row.name,
            machine_identity=row.machine_identity,
            path=path,
            reason=reason[:_REASON_CHARACTERS],
            create_date=tx.now,
        )
        tx.insert(debt)
        _log.warning("backup-storage.owes", backup_storage=storage, name=row.name, path=path, reason=reason)

    def connected(self, tx: Tx, storage: BackupStorageId) -> None:
        """Have a backup storage that was just connected owe what its machine owes, and collect that soon."""
        row = tx.get(BackupStorage, storage)
        if row is not None and row.machine_identity is not None:
            self._take_over(tx, row)
        if tx.count(BackupStorageDebt, backup_storage_uuid=storage):
            tx.after_commit(self._returned)

    def _take_over(self, tx: Tx, row: BackupStorage) -> None:
        """Those of backup storages that this machine was before."""
        for debt in tx.find(BackupStorageDebt, machine_identity=row.machine_identity):
            if debt.backup_storage_uuid == row.uuid or tx.get(BackupStorage, debt.backup_storage_uuid) is not None:
                continue
            if tx.count(BackupStorageDebt, backup_storage_uuid=row.uuid, path=debt.path):
                tx.delete(BackupStorageDebt, debt.uuid)
            else:
                tx.update(BackupStorageDebt, debt.uuid, backup_storage_uuid=row.uuid, backup_storage_name=row.name)

    async def collect(self) -> None:
        """Begin to remove what connected backup storage owes."""
        for storage in await self._store.read(self._collectable):
            if storage not in self._busy:
                self._busy.add(storage)
                self._tasks.start(self._try(storage), f"debts of {storage}")

    def _collectable(self, tx: Tx) -> list[BackupStorageId]:
        connected = tx.find(BackupStorage, status=MachineStatus.CONNECTED)
        mine = [row.uuid for row in connected if self._ring.owns(self._node, row.uuid)]
        return [uuid for uuid in mine if tx.count(BackupStorageDebt, backup_storage_uuid=uuid)]

    async def _try(self, storage: BackupStorageId) -> None:
        try:
            await self.collect_from(storage)
        except CairnError as error:
            _log.warning("backup-storage.debts-not-collected", backup_storage=storage, error=str(error))
        finally:
            self._busy.discard(storage)

    async def collect_from(self, storage: BackupStorageId) -> None:
        """Remove what a backup storage owes, oldest first. What cannot be removed stays, with the reason.

        Raises:
            CairnError: the storage is out of reach again, or the database cannot be written.
        """

        def fn(tx: Tx) -> list[BackupStorageDebt]:
            return tx.find(BackupStorageDebt, backup_storage_uuid=storage, order_by="create_date", limit=_MOST)

        for debt in await self._store.read(fn):
            try:
                await self._agents.call(storage, DeleteFile(path=debt.path), timeout_seconds=_REMOVAL_SECONDS)
            except CairnError as error:
                if error.kind in _OUT_OF_REACH:
                    raise
                await self._store.write(partial(_explain, debt.uuid, str(error)[:_REASON_CHARACTERS]))
            else:
                await self._store.write(partial(_forget, debt.uuid))
                _log.info("backup-storage.debt-collected", backup_storage=storage, path=debt.path)

    @handles(DeleteBackupStorageDebt)
    async def delete(self, message: DeleteBackupStorageDebt) -> None:
        """Forget a debt; one that is gone is success."""
        await self._jobs.commit(partial(_forget, message.uuid))


def _nobody() -> None:
    """Nobody listens yet."""


def _forget(uuid: str, tx: Tx) -> None:
    tx.delete(BackupStorageDebt, uuid)


def _explain(uuid: str, reason: str, tx: Tx) -> None:
    tx.update(BackupStorageDebt, uuid, reason=reason)
