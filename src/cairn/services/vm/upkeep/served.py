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
        message = ServeVmNetworks(host=vm.host_uuid, vm=vm)
        await self._bus.at_owner(message, lambda: self.serve_here(message))

    async def release(self, vm: VmNetworks) -> None:
        """Have every service stop serving the VM, in reverse order; if one fails, the others are still asked."""
        message = ReleaseVmNetworks(host=vm.host_uuid, vm=vm)
        await self._bus.at_owner(message, lambda: self.release_here(message))

    @handles(ServeVmNetworks)
    async def serve_here(self, message: ServeVmNetworks) -> None:
        """A VM is started on a host that belongs to this node."""
        for service in self._extensions.of(VmNetworkService):
            await service.apply(message.vm)

    @handles(ReleaseVmNetworks)
    async def release_here(self, message: ReleaseVmNetworks) -> None:
        """A VM was taken off a host that belongs to this node."""
        first: CairnError | None = None
        for service in reversed(self._extensions.of(VmNetworkService)):
            try:
                await service.release(message.vm)
            except CairnError as error:
                first = first or error
        if first is not None:
            raise first
