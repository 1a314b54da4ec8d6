"""The VM service: it answers the messages that need more than their workflow."""

from __future__ import annotations

from collections.abc import Callable

from cairn.agents.protocol import vm as agent
from cairn.kernel.api import Reference
from cairn.kernel.bus.handlers import handles
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.engine import FlowEngine
from cairn.kernel.flow.workflow import workflow
from cairn.kernel.jobs import Jobs
from cairn.kernel.resource import changed, existing
from cairn.kernel.store.store import Store, Tx
from cairn.services.host.model import Host, HostClaim
from cairn.services.host.provided import HostAgents
from cairn.services.ids import HostId
from cairn.services.vm.definition import networks, nics_of
from cairn.services.vm.machine import LIFE, Operation, operation_of
from cairn.services.vm.messages import (
    ConsoleAddress,
    CreateVmInstance,
    DestroyVmInstance,
    ExpungeVmInstance,
    GetVmConsoleAddress,
    ListVmNetworks,
    PauseVmInstance,
    RebootVmInstance,
    RecoverVmInstance,
    RemoveStrayVm,
    ResumeVmInstance,
    StartVmInstance,
    StopVmInstance,
    UpdateVmInstance,
    VmCall,
    VmNetworkList,
)
from cairn.services.vm.model import StrayVm, VmInstance, VmState


def nothing_to_do(tx: Tx, asked: VmCall) -> bool:
    """Tell whether the VM is in the state that the operation would leave it in. One that is gone counts as destroyed."""
    assert not isinstance(asked, CreateVmInstance), "a VM that is there is not created"
    vm = tx.get(VmInstance, asked.uuid)
    if vm is None:
        return isinstance(asked, DestroyVmInstance)  # others are refused when they begin
    return vm.state is LIFE[operation_of(asked)].done


CREATE = workflow(CreateVmInstance)
CREATE_STOPPED = workflow(CreateVmInstance, name="vm.create-stopped")
START = workflow(StartVmInstance, unless=nothing_to_do)
STOP = workflow(StopVmInstance, unless=nothing_to_do)
REBOOT = workflow(RebootVmInstance)
PAUSE = workflow(PauseVmInstance, unless=nothing_to_do)
RESUME = workflow(ResumeVmInstance, unless=nothing_to_do)
DESTROY = workflow(DestroyVmInstance, unless=nothing_to_do)
EXPUNGE = workflow(ExpungeVmInstance)
RECOVER = workflow(RecoverVmInstance, unless=nothing_to_do)
REMOVE_STRAY = workflow(RemoveStrayVm, unless=lambda tx, asked: tx.get(StrayVm, asked.uuid) is None)


class VmService:
    """Handlers of messages about VMs; those without one only run their workflow."""

    def __init__(self, store: Store, jobs: Jobs, flows: Callable[[], FlowEngine], agents: HostAgents) -> None:
        self._store = store
        self._jobs = jobs
        self._flows = flows
        self._agents = agents

    @handles(CreateVmInstance)
    async def create(self, message: CreateVmInstance) -> Reference:
        """Make a VM; its strategy says whether it is started."""
        stopped = operation_of(message) is Operation.CREATE_STOPPED
        answer = await self._flows().perform(CREATE_STOPPED if stopped else CREATE, message)
        assert isinstance(answer, Reference)
        return answer

    @handles(UpdateVmInstance)
    async def update(self, message: UpdateVmInstance) -> Reference:
        """Change name, description or size."""

        def fn(tx: Tx) -> Reference:
            resized = message.cpu_num is not None or message.memory_size is not None
            vm = existing(tx, VmInstance, message.uuid, lock=resized)
            if resized and vm.state is not VmState.STOPPED:
                raise CairnError(
                    "vm.wrong-state",
                    f"The VM {vm.name} is {vm.state.value}; its size can be changed while it is Stopped.",
                    kind=ErrorKind.CONFLICT,
                    details={"state": vm.state.value, "allowed": [VmState.STOPPED.value]},
                )
            return changed(tx, VmInstance, message)

        return await self._jobs.commit(fn)

    @handles(GetVmConsoleAddress)
    async def console(self, message: GetVmConsoleAddress) -> ConsoleAddress:
        """Ask the VM's host for its screen and serial console."""

        def fn(tx: Tx) -> tuple[VmInstance, Host | None]:
            vm = existing(tx, VmInstance, message.uuid)
            return vm, tx.get(Host, vm.host_uuid) if vm.host_uuid else None

        vm, host = await self._store.read(fn)
        if host is None:
            raise CairnError(
                "vm.wrong-state",
                f"The VM {vm.name} is {vm.state.value} and has no console; start it first.",
                kind=ErrorKind.CONFLICT,
            )
        found = await self._agents.call(host.uuid, agent.GetConsole(vm=vm.uuid), timeout_seconds=30.0)
        return ConsoleAddress(
            host_ip=found.vnc_address or host.management_ip,
            port=found.vnc_port or 0,
            protocol="vnc",
            console_log=found.text,
        )

    @handles(ListVmNetworks)
    async def list_networks(self, message: ListVmNetworks) -> VmNetworkList:
        """Read the network cards of all VMs that are claimed on a host."""

        def fn(tx: Tx) -> VmNetworkList:
            host = HostId(message.host_uuid)
            claims = tx.find(HostClaim, host_uuid=host, starts=True)
            vms = tx.find(VmInstance, uuid=[claim.vm_uuid for claim in claims], order_by="uuid")
            nics = nics_of(tx, vms)
            return VmNetworkList(vms=[networks(vm, host, nics[vm.uuid]) for vm in vms])

        return await self._store.read(fn)
