"""What hosts serve to VMs (DHCP, metadata, ...): asked for on the node that the host belongs to."""

from __future__ import annotations

from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.handlers import handles
from cairn.kernel.error import CairnError
from cairn.kernel.plugin.extension import Extensions
from cairn.services.vm.extensions import VmNetworks, VmNetworkService
from cairn.services.vm.messages import ReleaseVmNetworks, ServeVmNetworks


class ServedVms:
    """Has all network services serve VMs, or stop doing so."""

    def __init__(self, bus: Bus, extensions: Extensions) -> None:
        self._bus = bus
        self._extensions = extensions

    async def serve(self, vm: VmNetworks) -> None:
        """Have every service serve the VM, in the order in which plugins were loaded. Safe to repeat."""
        if not self._bus.owns(vm.host_uuid):
            await self._bus.call(ServeVmNetworks(host=vm.host_uuid, vm=vm))
            return
        for service in self._extensions.of(VmNetworkService):
            await service.apply(vm)

    async def release(self, vm: VmNetworks) -> None:
        """Have every service stop serving the VM, in reverse order; if one fails, the others are still asked."""
        if not self._bus.owns(vm.host_uuid):
            await self._bus.call(ReleaseVmNetworks(host=vm.host_uuid, vm=vm))
            return
        first: CairnError | None = None
        for service in reversed(self._extensions.of(VmNetworkService)):
            try:
                await service.release(vm)
            except CairnError as error:
                first = first or error
        if first is not None:
            raise first

    @handles(ServeVmNetworks)
    async def asked_to_serve(self, message: ServeVmNetworks) -> None:
        """Another node starts a VM on a host that belongs to this one."""
        await self.serve(message.vm)

    @handles(ReleaseVmNetworks)
    async def asked_to_release(self, message: ReleaseVmNetworks) -> None:
        """Another node has taken a VM off a host that belongs to this one."""
        await self.release(message.vm)
