"""Changing a VM's state: one place that writes it and tells of it."""

from __future__ import annotations

from cairn.kernel.bus.context import current
from cairn.kernel.error import not_found
from cairn.kernel.event import Events
from cairn.kernel.store.store import Tx
from cairn.services.vm.messages import VmStateChanged
from cairn.services.vm.model import VmInstance, VmState


def queue_of(vm: str) -> str:
    """The queue in which everything that is done to a VM takes its turn."""
    return f"vm:{vm}"


def existing(tx: Tx, uuid: str) -> VmInstance:
    """The VM (``vm-instance.not-found``)."""
    vm = tx.get(VmInstance, uuid)
    if vm is None:
        raise not_found("vm-instance", "uuid", uuid)
    return vm


class VmStates:
    """Writes states and emits `VmStateChanged`."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def change(self, tx: Tx, vm: VmInstance, state: VmState, reason: str | None = None, **values: object) -> None:
        """Bring a VM into `state`, with other `values` of its row."""
        tx.update(VmInstance, vm.uuid, state=state, state_reason=reason, last_op_date=tx.now, **values)
        self.tell(tx, vm, vm.state, state, host=values.get("host_uuid", vm.host_uuid), reason=reason)

    def tell(
        self, tx: Tx, vm: VmInstance, before: VmState, state: VmState, *, host: object = None, reason: str | None = None
    ) -> None:
        """Announce a change."""
        event = VmStateChanged(
            vm=vm.uuid,
            name=vm.name,
            before=before.value,
            state=state.value,
            host=host if isinstance(host, str) else None,
            reason=reason,
        )
        self._events.emit(tx, event, resource=vm.uuid, job=current().job, account=vm.account_uuid)
