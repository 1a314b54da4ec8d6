"""The VM service: what people ask of VMs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from msgspec import Struct

from cairn.agents.protocol import vm as agent
from cairn.kernel.api import Reference
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.context import current
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.engine import FlowEngine
from cairn.kernel.flow.step import Nothing
from cairn.kernel.flow.workflow import Workflow
from cairn.kernel.jobs import Jobs
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.store.store import Store, Tx
from cairn.kernel.tag import Tags
from cairn.services.host.model import Host
from cairn.services.host.provided import HostAgents
from cairn.services.vm.messages import (
    ConsoleAddress,
    CreateVmInstance,
    CreationStrategy,
    DestroyVmInstance,
    ExpungeVmInstance,
    GetVmConsoleAddress,
    ListVmNetworks,
    RebootVmInstance,
    StartVmInstance,
    StopVmInstance,
    UpdateVmInstance,
    VmNetworkList,
)
from cairn.services.vm.model import VmInstance, VmState
from cairn.services.vm.spec import networks
from cairn.services.vm.states import existing, queue_of
from cairn.services.vm.steps.create import CreateParameters, VmAnswer
from cairn.services.vm.steps.remove import DestroyParameters
from cairn.services.vm.steps.start import StartParameters
from cairn.services.vm.steps.stop import RebootParameters, StopParameters

P = TypeVar("P", bound=Struct)

CREATE = Workflow(
    name="vm.create", parameters=CreateParameters, answer=VmAnswer, doc="Makes a VM of an image and starts it."
)
CREATE_STOPPED = Workflow(
    name="vm.create-stopped", parameters=CreateParameters, answer=VmAnswer, doc="Makes a VM of an image; it stays off."
)
START = Workflow(name="vm.start", parameters=StartParameters, answer=VmAnswer, doc="Starts a stopped VM.")
STOP = Workflow(name="vm.stop", parameters=StopParameters, answer=VmAnswer, doc="Stops a running VM.")
REBOOT = Workflow(name="vm.reboot", parameters=RebootParameters, answer=VmAnswer, doc="Stops and starts a VM in place.")
DESTROY = Workflow(
    name="vm.destroy", parameters=DestroyParameters, answer=Nothing, doc="Takes a VM off its host; its disk stays."
)
EXPUNGE = Workflow(
    name="vm.expunge", parameters=DestroyParameters, answer=Nothing, doc="Removes a destroyed VM for good."
)

ALL = (CREATE, CREATE_STOPPED, START, STOP, REBOOT, DESTROY, EXPUNGE)


class VmService:
    """Answers the messages about VMs."""

    def __init__(
        self,
        bus: Bus,
        store: Store,
        jobs: Jobs,
        flows: Callable[[], FlowEngine],
        tags: Tags,
        extensions: Extensions,
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._flows = flows
        self._tags = tags
        self._extensions = extensions
        bus.register(CreateVmInstance, self.create)
        bus.register(StartVmInstance, self.start)
        bus.register(StopVmInstance, self.stop)
        bus.register(RebootVmInstance, self.reboot)
        bus.register(DestroyVmInstance, self.destroy)
        bus.register(ExpungeVmInstance, self.expunge)
        bus.register(UpdateVmInstance, self.update)
        bus.register(GetVmConsoleAddress, self.console)
        bus.register(ListVmNetworks, self.list_networks)

    async def create(self, message: CreateVmInstance) -> Reference:
        """Make a VM."""
        self._tags.check("VmInstance", message.system_tags)
        assert message.resource_uuid is not None, "the gateway chooses the new VM's uuid"
        parameters = CreateParameters(
            vm_uuid=message.resource_uuid,
            name=message.name,
            description=message.description,
            account_uuid=current().actor or "",
            image_uuid=message.image_uuid,
            l3_network_uuids=list(message.l3_network_uuids),
            default_l3_network_uuid=message.default_l3_network_uuid,
            instance_offering_uuid=message.instance_offering_uuid,
            cpu_num=message.cpu_num,
            memory_size=message.memory_size,
            root_disk_size=message.root_disk_size,
            zone_uuid=message.zone_uuid,
            cluster_uuid=message.cluster_uuid,
            host_uuid=message.host_uuid,
            primary_storage_uuid=message.primary_storage_uuid_for_root_volume,
            system_tags=list(message.system_tags),
            user_tags=list(message.user_tags),
        )
        workflow = CREATE if message.strategy is CreationStrategy.INSTANT_START else CREATE_STOPPED
        answer = await self._flows().run(workflow, parameters, queue=queue_of(parameters.vm_uuid))
        return Reference(uuid=answer.vm_uuid)

    async def start(self, message: StartVmInstance) -> Reference:
        """Start a VM."""
        parameters = StartParameters(
            vm_uuid=message.uuid, required_cluster_uuid=message.cluster_uuid, required_host_uuid=message.host_uuid
        )
        return await self._run(START, parameters, message.uuid, VmState.RUNNING)

    async def stop(self, message: StopVmInstance) -> Reference:
        """Stop a VM."""
        parameters = StopParameters(vm_uuid=message.uuid, stop_mode=message.type.value)
        return await self._run(STOP, parameters, message.uuid, VmState.STOPPED)

    async def reboot(self, message: RebootVmInstance) -> Reference:
        """Reboot a VM."""
        return await self._run(REBOOT, RebootParameters(vm_uuid=message.uuid), message.uuid, None)

    async def _run(self, workflow: Workflow[P, VmAnswer], parameters: P, vm: str, done: VmState | None) -> Reference:
        def there_already(tx: Tx) -> VmAnswer | None:
            return VmAnswer(vm_uuid=vm) if existing(tx, vm).state is done else None

        answer = await self._flows().run(workflow, parameters, queue=queue_of(vm), unless=there_already)
        return Reference(uuid=answer.vm_uuid)

    async def destroy(self, message: DestroyVmInstance) -> None:
        """Take a VM off its host; one that is gone or destroyed is success."""

        def gone(tx: Tx) -> Nothing | None:
            vm = tx.get(VmInstance, message.uuid)
            return Nothing() if vm is None or vm.state is VmState.DESTROYED else None

        parameters = DestroyParameters(vm_uuid=message.uuid)
        await self._flows().run(DESTROY, parameters, queue=queue_of(message.uuid), unless=gone)

    async def expunge(self, message: ExpungeVmInstance) -> None:
        """Remove a destroyed VM for good."""
        parameters = DestroyParameters(vm_uuid=message.uuid)
        await self._flows().run(EXPUNGE, parameters, queue=queue_of(message.uuid))

    async def update(self, message: UpdateVmInstance) -> Reference:
        """Change name, description or size."""

        def fn(tx: Tx) -> Reference:
            vm = existing(tx, message.uuid)
            resized = message.cpu_num is not None or message.memory_size is not None
            if resized and vm.state is not VmState.STOPPED:
                raise CairnError(
                    "vm.wrong-state",
                    f"The VM {vm.name} is {vm.state.value}; its size can be changed while it is Stopped.",
                    kind=ErrorKind.CONFLICT,
                    details={"state": vm.state.value, "allowed": [VmState.STOPPED.value]},
                )
            tx.update(
                VmInstance,
                vm.uuid,
                name=message.name or vm.name,
                description=vm.description if message.description is None else message.description,
                cpu_num=message.cpu_num or vm.cpu_num,
                memory_size=message.memory_size or vm.memory_size,
                last_op_date=tx.now,
            )
            return Reference(uuid=vm.uuid)

        return await self._jobs.commit(fn)

    async def console(self, message: GetVmConsoleAddress) -> ConsoleAddress:
        """The VM's screen and serial console."""

        def fn(tx: Tx) -> tuple[VmInstance, Host | None]:
            vm = existing(tx, message.uuid)
            return vm, tx.get(Host, vm.host_uuid) if vm.host_uuid else None

        vm, host = await self._store.read(fn)
        if host is None:
            raise CairnError(
                "vm.wrong-state",
                f"The VM {vm.name} is {vm.state.value} and has no console; start it first.",
                kind=ErrorKind.CONFLICT,
            )
        agents = self._extensions.named(HostAgents, "host")
        found = await agents.call(host.uuid, agent.GetConsole(vm=vm.uuid), timeout_seconds=30.0)
        return ConsoleAddress(
            host_ip=found.vnc_address or host.management_ip,
            port=found.vnc_port or 0,
            protocol="vnc",
            console_log=found.text,
        )

    async def list_networks(self, message: ListVmNetworks) -> VmNetworkList:
        """The network cards of all VMs on a host."""

        def fn(tx: Tx) -> VmNetworkList:
            vms = tx.find(VmInstance, host_uuid=message.host_uuid)
            return VmNetworkList(vms=[networks(tx, vm, message.host_uuid) for vm in vms])

        return await self._store.read(fn)
