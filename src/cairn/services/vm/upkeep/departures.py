"""VMs that leave hosts otherwise than by an operation of their own: by themselves, by force, or long after they were removed."""

from __future__ import annotations

from typing import Final

import structlog

from cairn.agents.protocol import vm as agent
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.handlers import handles
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.event import EventRow, Events
from cairn.kernel.queue import ResourceQueues
from cairn.kernel.store.store import Store, Tx
from cairn.services.host.model import HostClaim
from cairn.services.host.provided import HostAgents, HostDebts, HostLedger, is_out_of_reach
from cairn.services.ids import HostId, VmId
from cairn.services.vm.definition import networks, nic_specs
from cairn.services.vm.extensions import VmNetworks
from cairn.services.vm.machine import ON_NO_HOST, TRANSITIONAL
from cairn.services.vm.messages import FollowVm, LeaveHost, StopType, StopVmInstance, TakeOffHost, TakeStray
from cairn.services.vm.model import StrayVm, VmInstance, VmState
from cairn.services.vm.states import VmStates, queue_of
from cairn.services.vm.upkeep.served import ServedVms

_log = structlog.get_logger("cairn.vm")

#: the kind of debt that is a VM on a host
DEBT: Final = "vm"


class Departures:
    """Has what is on hosts follow, in the VM's turn, so that no operation of the VM is under way meanwhile."""

    def __init__(
        self,
        store: Store,
        bus: Bus,
        queues: ResourceQueues,
        events: Events,
        served: ServedVms,
        states: VmStates,
        agents: HostAgents,
        ledger: HostLedger,
        debts: HostDebts,
    ) -> None:
        self._store = store
        self._bus = bus
        self._queues = queues
        self._served = served
        self._states = states
        self._agents = agents
        self._ledger = ledger
        self._debts = debts
        debts.register(DEBT, self.collect)
        events.subscribe("vm.departures", {"vm.place-seen"}, self.place_seen, durable=True)

    async def collect(self, host: HostId, vm: str) -> None:
        """Take a VM off a host that has returned, unless it has a place there again."""
        await self._bus.call(TakeOffHost(vm=vm, host=host))

    @handles(TakeOffHost)
    async def take_off(self, message: TakeOffHost) -> None:
        """Take a VM off a host, in the VM's turn."""
        vm, host = VmId(message.vm), HostId(message.host)

        async def work() -> None:
            claim = await self._store.read(lambda tx: tx.get(HostClaim, vm))
            if claim is None or claim.host_uuid != host:
                await self._agents.call(host, agent.DestroyVm(vm=vm))

        await self._queues.run(queue_of(vm), work, name="take a removed VM off its host")

    @handles(TakeStray)
    async def take_stray(self, message: TakeStray) -> None:
        """Destroy a stray, in the turn of the VM of that name, so that none is started there meanwhile."""
        row = await self._store.read(lambda tx: tx.get(StrayVm, message.stray))
        if row is not None:
            await self._queues.run(queue_of(VmId(row.vm_uuid)), lambda: self._destroy(row), name="remove a stray")

    async def _destroy(self, row: StrayVm) -> None:
        if await self._store.read(lambda tx: _at_home(tx, row)):
            raise CairnError(
                "stray-vm.at-home",
                f"The VM {row.vm_uuid} is where it belongs by now, so it is no stray. Stop or destroy the VM itself.",
                kind=ErrorKind.CONFLICT,
            )
        await self._agents.call(row.host_uuid, agent.DestroyVm(vm=row.vm_uuid))

    async def place_seen(self, event: EventRow) -> None:
        """Have a host serve a VM's networks if the VM has a place there, and else no more."""
        vm, host = str(event.content.get("vm")), str(event.content.get("host"))
        try:
            await self._bus.call(FollowVm(vm=vm, host=host))
        except CairnError as error:
            _log.warning("vm.networks-not-followed", vm=vm, host=host, error=str(error))

    @handles(FollowVm)
    async def follow(self, message: FollowVm) -> None:
        """Have a host's services follow the VM, in the VM's turn."""
        vm, host = VmId(message.vm), HostId(message.host)

        def fn(tx: Tx) -> tuple[VmNetworks | None, bool]:
            row, claim = tx.get(VmInstance, vm), tx.get(HostClaim, vm)
            there = claim is not None and claim.host_uuid == host
            return (networks(row, host, nic_specs(tx, row)) if row is not None else None), there

        async def work() -> None:
            told, there = await self._store.read(fn)
            if told is None:
                return  # who removed it has seen to it
            if not there:
                await self._served.release(told)
            else:
                await self._served.serve(told)

        await self._queues.run(queue_of(vm), work, name="have networks follow the VM")

    @handles(LeaveHost)
    async def leave(self, message: LeaveHost) -> None:
        """Stop a VM on a host that goes; one that cannot be asked counts as stopped, and is a debt of the host."""
        vm, host = VmId(message.vm), HostId(message.host)
        if not await self._store.read(lambda tx: _is_on(tx, vm, host)):
            return
        try:
            await self._bus.call(StopVmInstance(uuid=vm, type=StopType.COLD))
        except CairnError as error:
            if not is_out_of_reach(error):
                raise
            lost = error
        else:
            return

        async def work() -> None:
            await self._store.write(lambda tx: self._give_up(tx, vm, host, lost))

        await self._queues.run(queue_of(vm), work, name="give a VM up")

    def _give_up(self, tx: Tx, uuid: VmId, host: HostId, error: CairnError) -> None:
        vm = tx.get(VmInstance, uuid)
        if vm is None or vm.host_uuid != host:
            return
        if vm.state in TRANSITIONAL:
            raise CairnError(
                "vm.busy",
                f"The VM {vm.name} is {vm.state.value}. Wait for the operation that is under way, and try again.",
                kind=ErrorKind.CONFLICT,
            )
        self._debts.owe(tx, host, DEBT, vm.uuid, error)
        self._ledger.release(tx, vm.uuid)
        if vm.state not in ON_NO_HOST:
            self._states.change(tx, vm, VmState.STOPPED, "its host was removed by force", host_uuid=None)


def _at_home(tx: Tx, row: StrayVm) -> bool:
    vm, claim = tx.get(VmInstance, row.vm_uuid), tx.get(HostClaim, row.vm_uuid)
    return row.host_uuid in (None if vm is None else vm.host_uuid, None if claim is None else claim.host_uuid)


def _is_on(tx: Tx, vm: VmId, host: HostId) -> bool:
    row = tx.get(VmInstance, vm)
    return row is not None and row.host_uuid == host
