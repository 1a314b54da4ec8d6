"""Making the database true: VMs' states as hypervisors report them, against those that are written down.

Three ways lead here: an agent's report (at once), a ping's answer (within the interval, when a report was lost), and a
host that was lost or came back. A VM in a transitional state belongs to its workflow and is left alone; so is one that
changed since the host was asked.

A report may come late: the network held it up, and the VM that stopped has been started again since. So a report is only a
reason to ask the host, whose answer is of a known time.
"""

from __future__ import annotations

from datetime import datetime

import structlog

from cairn.agents.protocol import vm as agent
from cairn.agents.protocol.vm import PowerState
from cairn.agents.protocol.wire import Report
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.handlers import handles
from cairn.kernel.clock import Clock
from cairn.kernel.event import EventRow, Events
from cairn.kernel.flow.journal import FlowRun
from cairn.kernel.machine.model import MachineStatus
from cairn.kernel.store.store import Store, Tx
from cairn.services.host.extensions import HostPinged
from cairn.services.host.model import Host
from cairn.services.host.provided import HostAgents, HostLedger
from cairn.services.ids import HostId
from cairn.services.vm.machine import LOST_WITH_HOST, TRANSITIONAL, observed
from cairn.services.vm.messages import ObserveVm, StrangeVmSeen, VmPlaceSeen
from cairn.services.vm.model import VmInstance, VmState
from cairn.services.vm.states import VmStates, queue_of

_OFF = (PowerState.STOPPED, PowerState.CRASHED)
_log = structlog.get_logger("cairn.vm.reconciler")


class VmReconciler(HostPinged):
    """Compares hosts' words with the database."""

    def __init__(
        self,
        bus: Bus,
        store: Store,
        clock: Clock,
        events: Events,
        states: VmStates,
        agents: HostAgents,
        ledger: HostLedger,
    ) -> None:
        self._bus = bus
        self._store = store
        self._clock = clock
        self._events = events
        self._states = states
        self._agents = agents
        self._ledger = ledger
        self._strange: set[tuple[str, HostId]] = set()
        events.subscribe("vm.reconciler", {"host.status-changed"}, self.host_changed, durable=True)

    async def reported(self, report: Report) -> None:
        """A host's agent reports that a VM came into another state: have the node that owns the VM look."""
        if report.vm and report.state:
            await self._bus.call(ObserveVm(vm=report.vm, host=report.host, power=report.state, reason=report.reason))

    @handles(ObserveVm)
    async def observe(self, message: ObserveVm) -> None:
        """A host reported a VM's state: if the database has another one, ask the host."""
        host, reported = HostId(message.host), PowerState(message.power)
        if not await self._store.read(lambda tx: _is_news(tx, message.vm, host, reported)):
            return
        asked_at = self._clock.now()
        power = (await self._ask(host)).get(message.vm, PowerState.STOPPED)
        reason = message.reason if (power in _OFF) == (reported in _OFF) else "seen when the host was asked"
        await self._store.write(lambda tx: self._compare(tx, message.vm, host, power, reason, asked_at))

    async def host_pinged(self, host: HostId, vms: dict[str, str], asked_at: datetime) -> None:
        """Compare all VMs of a host, as it has them, with the database."""

        def differs(tx: Tx) -> bool:
            rows = {row.uuid: row.state for row in tx.find(VmInstance, host_uuid=host)}
            agree = all(_agrees(state, vms.get(uuid)) for uuid, state in rows.items())
            return not agree or bool(vms.keys() - rows.keys())

        def fn(tx: Tx) -> None:
            for row in tx.find(VmInstance, host_uuid=host):
                power = PowerState(vms.get(row.uuid, PowerState.STOPPED.value))
                self._compare(tx, row.uuid, host, power, "seen when the host was asked", asked_at)
            for uuid, state in vms.items():
                self._compare(tx, uuid, host, PowerState(state), "seen when the host was asked", asked_at)

        if await self._store.read(differs):
            await self._store.write(fn)

    async def host_changed(self, event: EventRow) -> None:
        """Mark the VMs of a host that is lost as Unknown; ask a host that is connected.

        The event is only a reason to look at the host: by now it may have another status than the event tells, or be gone.
        """
        host = HostId(event.resource_uuid or "")
        row = await self._store.read(lambda tx: tx.get(Host, host))
        if row is None:
            return
        if row.status is MachineStatus.DISCONNECTED:
            await self._store.write(lambda tx: self._unknown(tx, host))
        elif row.status is MachineStatus.CONNECTED:
            asked_at = self._clock.now()
            found = await self._ask(host)
            await self.host_pinged(host, {uuid: state.value for uuid, state in found.items()}, asked_at)

    async def _ask(self, host: HostId) -> dict[str, PowerState]:
        return (await self._agents.call(host, agent.ListVms(), timeout_seconds=30.0)).vms

    def _unknown(self, tx: Tx, host: HostId) -> None:
        row = tx.get(Host, host)
        if row is None or row.status is not MachineStatus.DISCONNECTED:
            return  # it has just come back, which is another event
        for vm in tx.find(VmInstance, host_uuid=host, state=list(LOST_WITH_HOST)):
            self._states.change(tx, vm, VmState.UNKNOWN, "its host was lost")

    def _compare(
        self, tx: Tx, uuid: str, host: HostId, power: PowerState, reason: str | None, asked_at: datetime
    ) -> None:
        vm = tx.get(VmInstance, uuid)
        if vm is None or vm.state is VmState.DESTROYED:
            self._note_strange(tx, uuid, host, power)
            return
        if vm.state in TRANSITIONAL or vm.last_op_date >= asked_at:
            return
        moved = power is PowerState.RUNNING and vm.host_uuid != host
        state = observed(vm.state, power) if vm.host_uuid == host else None
        if not (moved or state):
            return
        if tx.count(FlowRun, queue_key=queue_of(vm.uuid)):
            return  # a workflow works on it, or has an undo to finish: the state that is seen may not last
        if moved:
            self._moved(tx, vm, host)
        elif state is not None:
            self._settle(tx, vm, state, power, reason)

    def _moved(self, tx: Tx, vm: VmInstance, host: HostId) -> None:
        """Book a VM that runs on another host than the database says on the host where it runs."""
        _log.warning("vm.turned-up", vm=vm.uuid, name=vm.name, host=host, before=vm.host_uuid)
        self._ledger.hold(tx, vm.uuid, host, cpu_num=vm.cpu_num, memory_bytes=vm.memory_size)
        self._states.change(tx, vm, VmState.RUNNING, "it was found running there", host_uuid=host, last_host_uuid=host)
        for place in dict.fromkeys([vm.host_uuid or vm.last_host_uuid or host, host]):
            self._events.emit(tx, VmPlaceSeen(vm=vm.uuid, host=place), resource=vm.uuid)

    def _settle(self, tx: Tx, vm: VmInstance, state: VmState, power: PowerState, reason: str | None) -> None:
        _log.info("vm.observed", vm=vm.uuid, name=vm.name, before=vm.state, state=state, power=power, reason=reason)
        if state is VmState.STOPPED:
            self._ledger.release(tx, vm.uuid)
            self._states.change(tx, vm, state, reason or f"it was found {power.value}", host_uuid=None)
            if vm.host_uuid is not None:
                self._events.emit(tx, VmPlaceSeen(vm=vm.uuid, host=vm.host_uuid), resource=vm.uuid)
            return
        if vm.host_uuid is not None:
            self._ledger.hold(tx, vm.uuid, vm.host_uuid, cpu_num=vm.cpu_num, memory_bytes=vm.memory_size)
        self._states.change(tx, vm, state, reason)

    def _note_strange(self, tx: Tx, uuid: str, host: HostId, power: PowerState) -> None:
        if power in _OFF or (uuid, host) in self._strange:
            return
        self._strange.add((uuid, host))
        _log.warning("vm.strange", vm=uuid, host=host, power=power)
        self._events.emit(tx, StrangeVmSeen(vm=uuid, host=host, power=power.value), resource=host)


def _is_news(tx: Tx, uuid: str, host: HostId, power: PowerState) -> bool:
    """Tell whether the database would have to change if a host has a VM in that state."""
    vm = tx.get(VmInstance, uuid)
    if vm is None or vm.state is VmState.DESTROYED:
        return power not in _OFF
    if vm.host_uuid != host:
        return power is PowerState.RUNNING and vm.state not in TRANSITIONAL
    return not _agrees(vm.state, power)


def _agrees(state: VmState, power: str | None) -> bool:
    if state in TRANSITIONAL:
        return True
    return observed(state, PowerState(power or PowerState.STOPPED.value)) is None
