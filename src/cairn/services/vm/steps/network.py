"""Starting and ending the network services of a VM on its host."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing, TransactionStep
from cairn.kernel.resource import existing, taken
from cairn.kernel.store.store import Store, Tx
from cairn.services.host.extensions import Candidate
from cairn.services.host.provided import HostLedger
from cairn.services.l3.messages import ClaimedAddress
from cairn.services.vm.definition import VmDefinition, networks, nic_specs
from cairn.services.vm.extensions import NicSpec, VmNetworks
from cairn.services.vm.model import VmInstance, VmNic
from cairn.services.vm.steps.stop import OnHostInput
from cairn.services.vm.upkeep.served import ServedVms


class ApplyInput(Struct, frozen=True, kw_only=True):
    """The VM, its network cards, and its host."""

    vm: VmDefinition
    place: Candidate
    nics: list[NicSpec]
    bridges: dict[str, str]

    def networks(self) -> VmNetworks:
        """Make the record that network services are given."""
        return taken(VmNetworks, self.vm, self.place, self)


class ApplyNetwork(ActionStep[ApplyInput, Nothing]):
    """Have every network service serve the VM on its host."""

    name = "network.apply"
    title = "preparing DHCP and other network services"

    def __init__(self, store: Store, served: ServedVms, ledger: HostLedger) -> None:
        self._store = store
        self._served = served
        self._ledger = ledger

    async def do(self, given: ApplyInput) -> Nothing:
        """Ask the services in the order in which plugins were loaded; each is safe to repeat."""
        await self._served.serve(given.networks())
        return NOTHING

    async def undo(self, given: ApplyInput, made: Nothing | None) -> None:
        """Ask all of them to stop; for a service that was not asked to serve, nothing there is success.

        The claim goes first, as in every workflow: a host that connects meanwhile is served what is claimed.
        """
        await self._store.write(lambda tx: self._ledger.release(tx, given.vm.uuid))
        await self._served.release(given.networks())


class ReleaseNetwork(ActionStep[OnHostInput, Nothing]):
    """Have every network service stop serving the VM."""

    name = "network.release"
    title = "ending DHCP and other network services"
    nothing_to_undo: ClassVar[str | None] = "the VM has left its host; its next start has it served again"

    def __init__(self, store: Store, served: ServedVms) -> None:
        self._store = store
        self._served = served

    async def do(self, given: OnHostInput) -> Nothing:
        """Ask the services about the host that the VM was on, which its row may not name any more."""

        def fn(tx: Tx) -> VmNetworks:
            vm = existing(tx, VmInstance, given.uuid)
            return networks(vm, given.former.host, nic_specs(tx, vm))

        await self._served.release(await self._store.read(fn))
        return NOTHING


class ReaddressInput(Struct, frozen=True, kw_only=True):
    """The VM, and the addresses that it has now in place of others."""

    uuid: str
    readdressed: list[ClaimedAddress]


class Readdress(TransactionStep[ReaddressInput, Nothing]):
    """Write other addresses to the VM's network cards."""

    name = "vm.readdress"
    title = "noting the VM's addresses"
    nothing_to_undo: ClassVar[str | None] = "the VM has these addresses, whether it starts or not"

    def do(self, tx: Tx, given: ReaddressInput) -> Nothing:
        """Change the card in each address's network; the VM has one card in a network."""
        for address in given.readdressed:
            card = {"vm_instance_uuid": given.uuid, "l3_network_uuid": address.l3_network_uuid}
            tx.update_where(
                VmNic,
                card,
                ip=address.ip,
                netmask=address.netmask,
                gateway=address.gateway,
                used_ip_uuid=address.used_ip_uuid,
                last_op_date=tx.now,
            )
        return NOTHING
