"""Changing a VM's state: the one place that writes it and emits the event."""

from __future__ import annotations

from sqlalchemy import bindparam, select

from cairn.kernel.bus.context import current
from cairn.kernel.bus.message import tag_of
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.event import EventRow, Events
from cairn.kernel.machine.model import MachineStatus
from cairn.kernel.queue import queue_key
from cairn.kernel.store.record import table_of
from cairn.kernel.store.store import Tx
from cairn.services.host.model import Host
from cairn.services.ids import VmId
from cairn.services.vm.machine import CHANGES, LOST_WITH_HOST
from cairn.services.vm.messages import VmStateChanged
from cairn.services.vm.model import VmInstance, VmState

HOST_LOST = "its host was lost"
_STORY_EVENTS = 10
_host = table_of(Host)
_STATUS = select(_host.c.status).where(_host.c.uuid == bindparam("host"))


def queue_of(vm: VmId) -> str:
    """The queue in which everything that is done to a VM takes its turn."""
    return queue_key("vm", vm)


class VmStates:
    """Writes states and emits `VmStateChanged`."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def change(self, tx: Tx, vm: VmInstance, state: VmState, reason: str | None = None, **values: object) -> None:
        """Bring a VM into `state`, with other `values` of its row.

        Args:
            vm: as it was read in this transaction. If its state or its place is another by now, the function is run again.

        Raises:
            CairnError: ``vm.impossible-change``, with the VM's story: neither an operation nor a hypervisor does that.
        """
        if (vm.state, state) not in CHANGES:
            raise _impossible(tx, vm, state)
        changed = {"state": state, "state_reason": reason, "last_op_date": tx.now, **values}
        tx.update_seen(vm, ("state", "host_uuid"), **changed)
        self.tell(tx, vm, vm.state, state, host=values.get("host_uuid", vm.host_uuid), reason=reason)

    def settle(self, tx: Tx, vm: VmInstance, state: VmState, **values: object) -> None:
        """Bring a VM into the state that an operation leaves it in, or took it from.

        Where it would be on a host that is lost by now, it is Unknown: who heard of the loss left it to the operation, and a
        host that is lost is not asked any more.

        Raises:
            CairnError: as `change`.
        """
        host = values.get("host_uuid", vm.host_uuid)
        rows = tx.rows(_STATUS, {"host": host}) if state in LOST_WITH_HOST and isinstance(host, str) else []
        if rows and rows[0][0] == MachineStatus.DISCONNECTED:
            self.change(tx, vm, VmState.UNKNOWN, HOST_LOST, **values)
        else:
            self.change(tx, vm, state, None, **values)

    def tell(
        self, tx: Tx, vm: VmInstance, before: VmState, state: VmState, *, host: object = None, reason: str | None = None
    ) -> None:
        """Emit `VmStateChanged`; the caller writes the state."""
        event = VmStateChanged(
            vm=vm.uuid,
            name=vm.name,
            before=before.value,
            state=state.value,
            host=host if isinstance(host, str) else None,
            reason=reason,
        )
        self._events.emit(tx, event, resource=vm.uuid, job=current().job, account=vm.account_uuid)


def _impossible(tx: Tx, vm: VmInstance, state: VmState) -> CairnError:
    story = _story(tx, vm.uuid)
    return CairnError(
        "vm.impossible-change",
        f"The VM {vm.name} is {vm.state.value}, and nothing brings it from there to {state.value}. This is a "
        "bug; the VM was left as it is.",
        kind=ErrorKind.INTERNAL,
        details={"state": vm.state.value, "wanted": state.value},
        operator=f"What happened to it: {'; '.join(story) or 'nothing that is still known'}.",
    )


def _story(tx: Tx, vm: VmId) -> list[str]:
    """The VM's last changes of state: when, from what to what, and why."""
    name = tag_of(VmStateChanged)
    rows = tx.find(EventRow, resource_uuid=vm, name=name, order_by="sequence", descending=True, limit=_STORY_EVENTS)
    return [_line(row) for row in reversed(rows)]


def _line(row: EventRow) -> str:
    why = row.content.get("reason") or (f"job {row.job_uuid}" if row.job_uuid else "by itself")
    return f"{row.create_date:%Y-%m-%d %H:%M:%S} {row.content.get('before')} to {row.content.get('state')} ({why})"
