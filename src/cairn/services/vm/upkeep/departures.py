"""VMs that leave hosts otherwise than by an operation of their own: by themselves, by force, or long after they were removed."""

from __future__ import annotations

from typing import Final

import structlog

from cairn.agents.protocol import vm as agent
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.handlers import handles
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.event import EventRow, Events
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.queue import ResourceQueues
from cairn.kernel.store.store import Store, Tx
from cairn.services.host.model import HostClaim
from cairn.services.host.provided import HostAgents, HostDebts, HostLedger, is_out_of_reach
from cairn.services.ids import HostId, VmId
from cairn.services.vm.definition import networks, nic_specs
from cairn.services.vm.extensions import VmNetworks, VmNetworkService
from cairn.services.vm.machine import ON_NO_HOST, TRANSITIONAL
from cairn.services.vm.messages import LeaveHost, StopType, StopVmInstance
from cairn.services.vm.model import VmInstance, VmState
from cairn.services.vm.states import VmStates, queue_of
from cairn.services.vm.steps.network import release_all

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
        extensions: Extensions,
        states: VmStates,
        agents: HostAgents,
        ledger: HostLedger,
        debts: HostDebts,
    ) -> None:
        self._store = store
        self._bus = bus
        self._queues = queues
        self._extensions = extensions
        self._states = states
        self._agents = agents
        self._ledger = ledger
        self._debts = debts
        debts.register(DEBT, self.collect)
        events.subscribe("vm.departures", {"vm.place-seen"}, self.place_seen, durable=True)

    async def collect(self, host: HostId, vm: str) -> None:
        """Take a VM off a host that has returned, unless it has a place there again."""

        async def work() -> None:
            claim = await self._store.read(lambda tx: tx.get(HostClaim, vm))
            if claim is None or claim.host_uuid != host:
                await self._agents.call(host, agent.DestroyVm(vm=vm))

        await self._queues.run(queue_of(VmId(vm)), work, name="take a removed VM off its host")

    async def place_seen(self, event: EventRow) -> None:
        """Have a host serve a VM's networks if the VM has a place there, and else no more."""
        vm, host = VmId(str(event.content.get("vm"))), HostId(str(event.content.get("host")))

        def fn(tx: Tx) -> tuple[VmNetworks | None, bool]:
            row, claim = tx.get(VmInstance, vm), tx.get(HostClaim, vm)
            there = claim is not None and claim.host_uuid == host
            return (networks(row, host, nic_specs(tx, row)) if row is not None else None), there

        async def work() -> None:
            told, there = await self._store.read(fn)
            if told is None:
                return  # who removed it has seen to it
            if not there:
                await release_all(self._extensions, told)
                return
            for service in self._extensions.of(VmNetworkService):
                await service.apply(told)

        try:
            await self._queues.run(queue_of(vm), work, name="have networks follow the VM")
        except CairnError as error:
            _log.warning("vm.networks-not-followed", vm=vm, host=host, error=str(error))

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


def _is_on(tx: Tx, vm: VmId, host: HostId) -> bool:
    row = tx.get(VmInstance, vm)
    return row is not None and row.host_uuid == host
