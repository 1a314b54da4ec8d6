"""Taking addresses for a VM, and giving them back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from msgspec import Struct

from cairn.kernel.api import ApiCreate
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.step import NOTHING, Nothing, TransactionStep
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import SystemTag
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
        _check_cards(wanted, given.l3_network_uuids)
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


class FollowTagsInput(Struct, frozen=True, kw_only=True):
    """The VM that is started."""

    uuid: str


class FollowTagsOutput(Struct, frozen=True, kw_only=True):
    """The addresses that the VM has from now on in place of others."""

    readdressed: list[ClaimedAddress]


class FollowTags(TransactionStep[FollowTagsInput, FollowTagsOutput]):
    """Give a VM that starts the addresses that its ``staticIp`` tags name, as they are now."""

    name = "l3.follow-tags"
    title = "looking whether other addresses are asked for"
    nothing_to_undo: ClassVar[str | None] = "the addresses are those that the VM's tags name, whether it starts or not"

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses

    def do(self, tx: Tx, given: FollowTagsInput) -> FollowTagsOutput:
        """Take each address before its former one is given back; one that is taken or outside refuses the start."""
        wanted = static_ips([row.text for row in tx.find(SystemTag, resource_uuid=given.uuid)])
        found: list[ClaimedAddress] = []
        for used in tx.find(UsedIp, used_for=given.uuid, l3_network_uuid=list(wanted)) if wanted else ():
            ip = wanted[used.l3_network_uuid]
            if used.ip != ip:
                found.append(self._addresses.claim(tx, used.l3_network_uuid, used_for=given.uuid, required_ip=ip))
                self._addresses.release(tx, [used])
        return FollowTagsOutput(readdressed=found)


def _check_cards(wanted: Mapping[str, str], l3_networks: Sequence[str]) -> None:
    for network in wanted:
        if network not in l3_networks:
            raise CairnError(
                "l3.static-ip-without-card",
                f"staticIp: the VM gets no network card in the L3 network {network}. Name it in l3NetworkUuids, or leave the "
                "tag out.",
                kind=ErrorKind.INVALID,
                fields={"systemTags": f"found an address in {network}; one in a network of l3NetworkUuids would fit"},
            )


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
