"""Recovering a VM that was destroyed and not yet expunged: its disk is there, its addresses were given back."""

from __future__ import annotations

from msgspec import Struct

from cairn.kernel.error import CairnError
from cairn.kernel.flow.step import NOTHING, Nothing, TransactionStep
from cairn.kernel.ids import IdSource
from cairn.kernel.resource import existing, taken
from cairn.kernel.store.store import Tx
from cairn.services.l3.messages import ClaimedAddress
from cairn.services.l3.provided import L3Networks
from cairn.services.vm.model import FormerNic, VmInstance, VmNic
from cairn.services.vm.steps.create import new_mac, tap_name


class RestoreInput(Struct, frozen=True, kw_only=True):
    """The VM that is recovered."""

    uuid: str


class RestoreNics(TransactionStep[RestoreInput, Nothing]):
    """Give the VM network cards again, in those of its networks that are still there."""

    name = "vm.restore-nics"
    title = "giving the VM its network cards back"

    def __init__(self, networks: L3Networks, ids: IdSource) -> None:
        self._networks = networks
        self._ids = ids

    def do(self, tx: Tx, given: RestoreInput) -> Nothing:
        """Each card has its former MAC and IPv4 address if nobody has it by now, else another.

        Raises:
            CairnError: ``l3.no-free-address``, ``l3.disabled``.
        """
        vm = existing(tx, VmInstance, given.uuid)
        there = self._networks.places(tx, [nic.l3_network_uuid for nic in vm.former_nics])
        for device, nic in enumerate(nic for nic in vm.former_nics if nic.l3_network_uuid in there):
            self._restore(tx, vm, nic, device)
        default = vm.default_l3_network_uuid
        if default not in there:
            default = next((nic.l3_network_uuid for nic in vm.former_nics if nic.l3_network_uuid in there), None)
        tx.update(VmInstance, vm.uuid, former_nics=[], default_l3_network_uuid=default)
        return NOTHING

    def undo(self, tx: Tx, given: RestoreInput, made: Nothing | None) -> None:
        """Take them away again, as a destruction does."""
        if made is not None:
            for nic in tx.find(VmNic, vm_instance_uuid=given.uuid):
                if nic.used_ip_uuid is not None:
                    self._networks.release(tx, nic.used_ip_uuid)
            remove_nics(tx, given.uuid)

    def _restore(self, tx: Tx, vm: VmInstance, nic: FormerNic, device: int) -> None:
        address = self._address(tx, vm, nic)
        uuid = self._ids.new()
        tx.insert(
            taken(
                VmNic,
                address,
                uuid=uuid,
                vm_instance_uuid=vm.uuid,
                mac=new_mac(self._ids) if tx.count(VmNic, mac=nic.mac) else nic.mac,
                device_id=device,
                internal_name=tap_name(uuid),
                driver_type=nic.driver_type,
                hypervisor_type=vm.hypervisor_type,
                create_date=tx.now,
                last_op_date=tx.now,
            )
        )

    def _address(self, tx: Tx, vm: VmInstance, nic: FormerNic) -> ClaimedAddress:
        network = nic.l3_network_uuid
        try:
            return self._networks.claim(tx, network, used_for=vm.uuid, required_ip=nic.ip)
        except CairnError as error:
            if error.code not in ("l3.address-taken", "l3.address-outside"):
                raise
            return self._networks.claim(tx, network, used_for=vm.uuid)


def remove_nics(tx: Tx, vm: str) -> None:
    """Forget a VM's network cards; its row remembers them, for its recovery. None is success."""
    nics = tx.find(VmNic, vm_instance_uuid=vm, order_by="device_id")
    if nics:
        tx.update(VmInstance, vm, former_nics=[taken(FormerNic, nic) for nic in nics])
        tx.delete_where(VmNic, vm_instance_uuid=vm)
