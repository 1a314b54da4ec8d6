"""Making the database true: VMs' states as hypervisors report them, against those that are written down.

Three ways lead here: an agent's report (at once), a ping's answer (within the interval, when a report was lost), and a
host that was lost or came back. A VM in a transitional state belongs to its workflow and is left alone; so is one that
changed since the host was asked.

A host is believed about the VMs that the database places there, and about those that rest and ran there last: they may have
been started behind our back, or an undo may not have reached them. What it says of others is told (`StrangeVmSeen`), and
changes nothing: two hosts that both say they run a VM would take it from each other for ever, and a host that was broken into
could have any VM, with its user data, by naming it.

A report may come late: the network held it up, and the VM that stopped has been started again since. So a report is only a
reason to ask the host, whose answer is of a known time.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import structlog
from sqlalchemy import bindparam, select

from cairn.agents.protocol import vm as agent
from cairn.agents.protocol.vm import PowerState
from cairn.agents.protocol.wire import Report
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.handlers import handles
from cairn.kernel.clock import Clock
from cairn.kernel.event import EventRow, Events
from cairn.kernel.flow.journal import FlowRun
from cairn.kernel.machine.model import MachineStatus
from cairn.kernel.store.record import table_of
from cairn.kernel.store.store import Store, Tx
from cairn.services.host.extensions import HostPinged
from cairn.services.host.model import Host
from cairn.services.host.provided import HostAgents, HostLedger
from cairn.services.ids import HostId
from cairn.services.vm.machine import LOST_WITH_HOST, TRANSITIONAL, observed
from cairn.services.vm.messages import ObserveVm, StrangeVmSeen, VmCrashed, VmPlaceSeen
from cairn.services.vm.model import VmInstance, VmState
from cairn.services.vm.states import HOST_LOST, VmStates, queue_of
from cairn.services.vm.upkeep.strays import Strays

Powers = dict[str, PowerState | None]
"""What a host has: VM uuid -> power state; None: it said something that this node does not know."""

_OFF = (PowerState.STOPPED, PowerState.CRASHED)
#: the reason that an agent gives when QEMU died
_CRASHED = "crashed"
#: so many VMs that are not a host's are told of at a time: a host may name as many as it likes
_STRANGE_TOLD = 100
#: so many VMs of a host are compared on the event loop, since a thread would cost more than they do
_FEW = 20
#: the states of a host's VMs: each ping asks for them, and a whole row of a VM costs ten times as much to read
_vm = table_of(VmInstance)
_STATES = select(_vm.c.uuid, _vm.c.state).where(_vm.c.host_uuid == bindparam("host"))
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
        strays: Strays,
    ) -> None:
        self._bus = bus
        self._store = store
        self._clock = clock
        self._events = events
        self._states = states
        self._agents = agents
        self._ledger = ledger
        self._strays = strays
        self._strange: dict[HostId, set[str]] = {}  #: those that were told of, by the host that has them
        events.subscribe("vm.reconciler", {"host.status-changed"}, self.host_changed, durable=True)

    async def reported(self, report: Report) -> None:
        """A host's agent reports that a VM came into another state: have the node that owns the VM look."""
        if report.vm and report.state and _power(report.host, report.vm, report.state) is not None:
            await self._bus.call(ObserveVm(vm=report.vm, host=report.host, power=report.state, reason=report.reason))

    @handles(ObserveVm)
    async def observe(self, message: ObserveVm) -> None:
        """A host reported a VM's state: if the database has another one, ask the host."""
        host, reported = HostId(message.host), _power(message.host, message.vm, message.power)
        if reported is None or not await self._store.read(lambda tx: _is_news(tx, message.vm, host, reported)):
            return
        asked_at = self._clock.now()
        found = await self._ask(host)
        power = found.get(message.vm, PowerState.STOPPED)
        if power is None:
            return
        reason = message.reason if (power in _OFF) == (reported in _OFF) else "seen when the host was asked"
        await self._store.write(
            lambda tx: self._compare(tx, message.vm, host, power, reason, asked_at, self._told(tx, host))
        )

    async def host_pinged(self, host: HostId, vms: dict[str, str], asked_at: datetime) -> None:
        """Compare all VMs of a host, as it has them, with the database."""
        await self._compare_all(host, _powers(host, vms), asked_at)

    async def _compare_all(self, host: HostId, powers: Powers, asked_at: datetime) -> None:
        def differs(tx: Tx) -> tuple[bool, list[str]]:
            rows = {str(uuid): VmState(str(state)) for uuid, state in tx.rows(_STATES, {"host": host})}
            agree = all(_agrees(state, powers.get(uuid, PowerState.STOPPED)) for uuid, state in rows.items())
            return not agree or bool(powers.keys() - rows.keys()), [*rows]

        def fn(tx: Tx) -> None:
            told = self._told(tx, host)
            gone = [row.uuid for row in tx.find(VmInstance, host_uuid=host) if row.uuid not in powers]
            for uuid, power in [*((uuid, PowerState.STOPPED) for uuid in gone), *powers.items()]:
                if power is not None:
                    self._compare(tx, uuid, host, power, "seen when the host was asked", asked_at, told)

        self._strange[host] = self._strange.get(host, set()) & powers.keys()
        ask = self._store.look if len(powers) <= _FEW else self._store.read
        different, own = await ask(differs)
        if different:
            await self._store.write(fn)
        await self._strays.look(host, powers, own)

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
            await self._compare_all(host, await self._ask(host), asked_at)

    async def _ask(self, host: HostId) -> Powers:
        return _powers(host, (await self._agents.call(host, agent.ListVms(), timeout_seconds=30.0)).vms)

    def _unknown(self, tx: Tx, host: HostId) -> None:
        row = tx.get(Host, host)
        if row is None or row.status is not MachineStatus.DISCONNECTED:
            return  # it has just come back, which is another event
        for vm in tx.find(VmInstance, host_uuid=host, state=list(LOST_WITH_HOST)):
            self._states.change(tx, vm, VmState.UNKNOWN, HOST_LOST)

    def _told(self, tx: Tx, host: HostId) -> set[str]:
        """The strange VMs of a host that were told of, to add to: it counts once the transaction is committed."""
        told = set(self._strange.get(host, ()))
        tx.after_commit(lambda: self._strange.__setitem__(host, told))
        return told

    def _compare(
        self,
        tx: Tx,
        uuid: str,
        host: HostId,
        power: PowerState,
        reason: str | None,
        asked_at: datetime,
        told: set[str],
    ) -> None:
        vm = tx.get(VmInstance, uuid)
        if vm is None or vm.state is VmState.DESTROYED:
            self._note_strange(tx, uuid, host, power, None, told)
            return
        if vm.state in TRANSITIONAL or vm.last_op_date >= asked_at:
            return
        elsewhere = power is PowerState.RUNNING and vm.host_uuid != host
        state = observed(vm.state, power) if vm.host_uuid == host else None
        if not (elsewhere or state):
            return
        if tx.count(FlowRun, queue_key=queue_of(vm.uuid)):
            return  # a workflow works on it, or has an undo to finish: the state that is seen may not last
        if state is not None:
            self._settle(tx, vm, state, power, reason)
        elif vm.host_uuid is None and vm.last_host_uuid == host:
            self._turned_up(tx, vm, host)
        else:
            self._note_strange(tx, uuid, host, power, vm.host_uuid or vm.last_host_uuid, told)

    def _turned_up(self, tx: Tx, vm: VmInstance, host: HostId) -> None:
        """Book a VM that is written down as resting on the host where it ran last, and runs."""
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
            self._tell_crash(tx, vm, power, reason)
            if vm.host_uuid is not None:
                self._events.emit(tx, VmPlaceSeen(vm=vm.uuid, host=vm.host_uuid), resource=vm.uuid)
            return
        if vm.host_uuid is not None:
            self._ledger.hold(tx, vm.uuid, vm.host_uuid, cpu_num=vm.cpu_num, memory_bytes=vm.memory_size)
        self._states.change(tx, vm, state, reason)

    def _tell_crash(self, tx: Tx, vm: VmInstance, power: PowerState, reason: str | None) -> None:
        """Tell that a VM ended without its guest or anybody else having asked for it, if it did."""
        if vm.host_uuid is not None and (power is PowerState.CRASHED or reason == _CRASHED):
            crashed = VmCrashed(vm=vm.uuid, name=vm.name, host=vm.host_uuid, reason=reason)
            self._events.emit(tx, crashed, resource=vm.uuid, account=vm.account_uuid)

    def _note_strange(
        self, tx: Tx, uuid: str, host: HostId, power: PowerState, placed_on: HostId | None, told: set[str]
    ) -> None:
        if power in _OFF or uuid in told or len(told) >= _STRANGE_TOLD:
            return
        told.add(uuid)
        _log.warning("vm.strange", vm=uuid, host=host, power=power, placed_on=placed_on)
        seen = StrangeVmSeen(vm=uuid, host=host, power=power.value, placed_on=placed_on)
        self._events.emit(tx, seen, resource=host)


def _is_news(tx: Tx, uuid: str, host: HostId, power: PowerState) -> bool:
    """Tell whether the database would have to change if a host has a VM in that state."""
    vm = tx.get(VmInstance, uuid)
    if vm is None or vm.state is VmState.DESTROYED:
        return power not in _OFF
    if vm.host_uuid != host:
        return power is PowerState.RUNNING and vm.state not in TRANSITIONAL
    return not _agrees(vm.state, power)


def _agrees(state: VmState, power: PowerState | None) -> bool:
    return state in TRANSITIONAL or power is None or observed(state, power) is None


def _powers(host: HostId, vms: Mapping[str, str]) -> Powers:
    return {uuid: _power(host, uuid, text) for uuid, text in vms.items()}


def _power(host: str, vm: str, text: str) -> PowerState | None:
    """The power state with that name; None for one that this node does not know, of which nothing can be concluded."""
    try:
        return PowerState(text)
    except ValueError:
        _log.warning("vm.unknown-power-state", vm=vm[:64], host=host, power=text[:64])
        return None
