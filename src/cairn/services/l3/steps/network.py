"""Having a VM served by its networks' services, and no more."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from cairn.kernel.error import CairnError
from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing
from cairn.kernel.plugin.extension import Extensions
from cairn.services.vm.extensions import NicSpec, VmNetworkService, VmNetworkSpec


class NetworkInput(Struct, frozen=True, kw_only=True):
    """The VM and its network cards."""

    vm_uuid: str
    placed_host_uuid: str
    hostname: str
    nics: list[NicSpec]
    bridges: dict[str, str] = {}  #: L3 network uuid -> bridge; not known, and not needed, when the VM is let go
    user_data: str | None
    ssh_keys: list[str]

    def spec(self) -> VmNetworkSpec:
        """As network services want it."""
        return VmNetworkSpec(
            vm_uuid=self.vm_uuid,
            host_uuid=self.placed_host_uuid,
            hostname=self.hostname,
            nics=self.nics,
            bridges=self.bridges,
            user_data=self.user_data,
            ssh_keys=self.ssh_keys,
        )


async def release_all(extensions: Extensions, vm: VmNetworkSpec) -> None:
    """Have every service let go of the VM, the last one first; one that fails does not keep the others from it."""
    first: CairnError | None = None
    for service in reversed(extensions.of(VmNetworkService)):
        try:
            await service.release(vm)
        except CairnError as error:
            first = first or error
    if first is not None:
        raise first


class ApplyNetwork(ActionStep[NetworkInput, Nothing]):
    """Have every network service serve the VM on its host."""

    name = "network.apply"
    title = "preparing DHCP and other network services"

    def __init__(self, extensions: Extensions) -> None:
        self._extensions = extensions

    async def do(self, given: NetworkInput) -> Nothing:
        """Apply, in the order in which plugins were loaded."""
        spec = given.spec()
        for service in self._extensions.of(VmNetworkService):
            await service.apply(spec)
        return NOTHING

    async def undo(self, given: NetworkInput, made: Nothing | None) -> None:
        """Release."""
        await release_all(self._extensions, given.spec())


class ReleaseNetwork(ActionStep[NetworkInput, Nothing]):
    """Have every network service let go of the VM."""

    name = "network.release"
    title = "ending DHCP and other network services"
    nothing_to_undo: ClassVar[str | None] = "the VM has left its host; its next start has it served again"

    def __init__(self, extensions: Extensions) -> None:
        self._extensions = extensions

    async def do(self, given: NetworkInput) -> Nothing:
        """Release."""
        await release_all(self._extensions, given.spec())
        return NOTHING
