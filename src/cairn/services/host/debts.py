"""What is left on machines that could not be reached when it was removed from the cloud by force."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import structlog

from cairn.kernel.bus.handlers import handles
from cairn.kernel.error import CairnError
from cairn.kernel.ids import IdSource
from cairn.kernel.invalidation import Keys
from cairn.kernel.jobs import Jobs
from cairn.kernel.store.store import Store, Tx
from cairn.services.host.messages import DeleteHostDebt
from cairn.services.host.model import Host, HostDebt
from cairn.services.host.provided import HostDebts, HostSyncs
from cairn.services.ids import HostId

_log = structlog.get_logger("cairn.host")
_REASON_CHARACTERS = 2000

#: of `HostSyncs`
KIND = "debts"
_OWES = "it owes the removal of things"


class Debts(HostDebts):
    """Notes debts, and collects them from hosts that return."""

    def __init__(self, store: Store, ids: IdSource, jobs: Jobs, syncs: HostSyncs) -> None:
        self._store = store
        self._ids = ids
        self._jobs = jobs
        self._syncs = syncs
        self._collectors: dict[str, Callable[[HostId, str], Awaitable[None]]] = {}
        syncs.register(KIND, self.collect)

    async def start(self) -> None:
        """Have the debts collected of hosts that are connected."""
        for host in {row.host_uuid for row in await self._store.read(lambda tx: tx.find(HostDebt))}:
            self._syncs.later(host, KIND, reason=_OWES)

    async def changed(self, keys: Keys) -> None:
        """Another node has noted some: they are collected by the node that looks after the host."""
        await self.start()

    async def stop(self) -> None:
        """Nothing to end: debts are collected by `HostSyncs`."""

    def register(self, kind: str, collect: Callable[[HostId, str], Awaitable[None]]) -> None:
        """Say how debts of a kind are collected; see `HostDebts`."""
        self._collectors[kind] = collect

    def owe(self, tx: Tx, host: HostId, kind: str, what: str, error: CairnError | str) -> None:
        """Write a debt down, once; see `HostDebts`."""
        row = tx.get(Host, host, lock=True)
        if row is None or tx.count(HostDebt, host_uuid=host, kind=kind, what=what):
            return
        debt = HostDebt(
            uuid=self._ids.new(),
            host_uuid=host,
            host_name=row.name,
            management_ip=row.management_ip,
            kind=kind,
            what=what,
            reason=str(error)[:_REASON_CHARACTERS],
            create_date=tx.now,
        )
        tx.insert(debt)
        tx.after_commit(lambda: self._syncs.later(host, KIND, reason=_OWES))
        _log.warning("host.owes", host=host, name=row.name, kind=kind, what=what, error=str(error))

    def take_over(self, tx: Tx, host: HostId, former: Sequence[str]) -> None:
        """Have a host owe what its machine owed as the hosts that it was before."""
        for debt in tx.find(HostDebt, host_uuid=list(former)) if former else ():
            if tx.count(HostDebt, host_uuid=host, kind=debt.kind, what=debt.what):
                tx.delete(HostDebt, debt.uuid)
            else:
                tx.update(HostDebt, debt.uuid, host_uuid=host)

    async def collect(self, host: HostId, subject: str = "") -> None:
        """Remove on a host what it owes, oldest first; a debt of a plugin that is left out stays.

        Raises:
            CairnError: the first debt's that could not be collected; the others are.
        """
        first: CairnError | None = None
        for debt in await self._store.read(lambda tx: tx.find(HostDebt, host_uuid=host, order_by="create_date")):
            try:
                await self._collect(host, debt)
            except CairnError as error:
                first = first or error
        if first is not None:
            raise first

    async def _collect(self, host: HostId, debt: HostDebt) -> None:
        collect = self._collectors.get(debt.kind)
        if collect is None:
            return
        await collect(host, debt.what)
        await self._store.write(lambda tx: tx.delete(HostDebt, debt.uuid))
        _log.info("host.debt-collected", host=host, kind=debt.kind, what=debt.what)

    @handles(DeleteHostDebt)
    async def delete(self, message: DeleteHostDebt) -> None:
        """Forget a debt; one that is gone is success."""

        def fn(tx: Tx) -> None:
            tx.delete(HostDebt, message.uuid)

        await self._jobs.commit(fn)
