"""Taking addresses for a VM, and giving them back."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from cairn.kernel.api import ApiCreate
from cairn.kernel.flow.step import NOTHING, Nothing, TransactionStep
from cairn.kernel.store.store import Tx
from cairn.services.ids import L3NetworkId
from cairn.services.l3.addresses import Addresses
from cairn.services.l3.messages import ClaimedAddress
from cairn.services.l3.model import UsedIp
from cairn.services.l3.tags import static_ips


class ClaimAddressesInput(Struct, frozen=True, kw_only=True):
    """The VM, and the networks in which it gets an address."""

    uuid: str  #: of the VM
    l3_network_uuids: list[L3NetworkId]
    asked: ApiCreate  #: its tag ``staticIp::{l3}::{ip}`` asks for an address by name


class ClaimAddressesOutput(Struct, frozen=True, kw_only=True):
    """The addresses that were taken."""

    addresses: list[ClaimedAddress]  #: in the order of `l3_network_uuids`


class ClaimAddresses(TransactionStep[ClaimAddressesInput, ClaimAddressesOutput]):
    """Take an address for a VM in each of its networks."""

    name = "l3.claim-addresses"
    title = "taking addresses"

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses

    def do(self, tx: Tx, given: ClaimAddressesInput) -> ClaimAddressesOutput:
        """A network without a free address takes none of the others either: the transaction is rolled back."""
        wanted = static_ips(given.asked.system_tags)
        return ClaimAddressesOutput(
            addresses=[
                self._addresses.claim(tx, network, used_for=given.uuid, required_ip=wanted.get(network))
                for network in given.l3_network_uuids
            ]
        )

    def undo(self, tx: Tx, given: ClaimAddressesInput, made: ClaimAddressesOutput | None) -> None:
        """Give back what was claimed, and nothing else that the VM has."""
        if made is not None:
            self._addresses.release(tx, tx.find(UsedIp, uuid=[claimed.used_ip_uuid for claimed in made.addresses]))


class ReleaseAddressesInput(Struct, frozen=True, kw_only=True):
    """The VM whose addresses are given back."""

    uuid: str


class ReleaseAddresses(TransactionStep[ReleaseAddressesInput, Nothing]):
    """Give all addresses of a VM back."""

    name = "l3.release-addresses"
    title = "giving addresses back"
    nothing_to_undo: ClassVar[str | None] = (
        "the VM has left its host by then and gets other addresses if it ever returns"
    )

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses

    def do(self, tx: Tx, given: ReleaseAddressesInput) -> Nothing:
        """A VM without addresses is success."""
        self._addresses.release_of(tx, given.uuid)
        return NOTHING
