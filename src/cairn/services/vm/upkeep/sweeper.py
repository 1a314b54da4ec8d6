"""Expunging VMs that were destroyed long ago: each as if its owner had asked for it, as a job of the cloud's own."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

import structlog
from sqlalchemy import bindparam, select

from cairn.kernel.api import ApiCommand
from cairn.kernel.clock import Clock
from cairn.kernel.config import GlobalConfig
from cairn.kernel.ids import IdSource, JobId
from cairn.kernel.jobs import Jobs
from cairn.kernel.store.record import table_of
from cairn.kernel.store.store import Store
from cairn.services.vm import config
from cairn.services.vm.messages import ExpungeVmInstance
from cairn.services.vm.model import VmInstance, VmState

#: In a round; the rest has its turn in the next, so that a sweep never fills the queues.
_AT_A_TIME = 100
_VM = table_of(VmInstance)
_OLD = (
    select(_VM.c.uuid)
    .where(_VM.c.state == VmState.DESTROYED.value, _VM.c.last_op_date < bindparam("before"))
    .order_by(_VM.c.last_op_date)
    .limit(_AT_A_TIME)
)
_log = structlog.get_logger("cairn.vm.sweeper")


class VmSweeper:
    """Looks for VMs whose time of keeping is over."""

    def __init__(self, store: Store, jobs: Jobs, clock: Clock, ids: IdSource, settings: GlobalConfig) -> None:
        self._store = store
        self._jobs = jobs
        self._clock = clock
        self._ids = ids
        self._settings = settings

    def seconds(self) -> float:
        """The time between two rounds."""
        return float(self._settings.get(config.EXPUNGE_INTERVAL))

    async def sweep(self) -> None:
        """Ask for the expunging of those that are old enough. Safe to repeat: a second call finds the VM gone."""
        before = self._clock.now() - timedelta(seconds=self._settings.get(config.EXPUNGE_PERIOD))
        found = await self._store.read(lambda tx: [str(row[0]) for row in tx.rows(_OLD, {"before": before})])
        for vm in found:
            message = cast("ApiCommand[object]", ExpungeVmInstance(uuid=vm))
            timeout = message.default_timeout_seconds
            await self._jobs.submit(JobId(self._ids.new()), message, actor=None, timeout_seconds=timeout)
        if found:
            _log.info("vm.expunging-old", vms=len(found))
