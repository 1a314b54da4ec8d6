"""Claiming a host for a VM, and giving it back."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from cairn.kernel.flow.step import NOTHING, Nothing, TransactionStep
from cairn.kernel.store.store import Tx
from cairn.services.host.extensions import Candidate, HostNeed
from cairn.services.host.placement.allocator import Allocator
from cairn.services.ids import VmId


class ClaimHostInput(Struct, frozen=True, kw_only=True):
    """The needs of the VM that a host is chosen for."""

    host_need: HostNeed


class ClaimHostOutput(Struct, frozen=True, kw_only=True):
    """The chosen host, with its cluster and zone."""

    place: Candidate


class ClaimHost(TransactionStep[ClaimHostInput, ClaimHostOutput]):
    """Take the memory and CPUs of a host that fits."""

    name = "host.claim"
    title = "choosing a host"

    def __init__(self, allocator: Allocator) -> None:
        self._allocator = allocator

    def do(self, tx: Tx, given: ClaimHostInput) -> ClaimHostOutput:
        """Claim in one statement; if no host fits, administrators are told why (``host.none-fits``)."""
        return ClaimHostOutput(place=self._allocator.claim(tx, given.host_need))

    def undo(self, tx: Tx, given: ClaimHostInput, made: ClaimHostOutput | None) -> None:
        """Give the capacity back; a VM that holds nothing is success."""
        self._allocator.release(tx, given.host_need.vm_uuid)


class ReleaseHostInput(Struct, frozen=True, kw_only=True):
    """The VM whose claim is given back."""

    uuid: str


class ReleaseHost(TransactionStep[ReleaseHostInput, Nothing]):
    """Give a VM's host back."""

    name = "host.release"
    title = "giving the host's capacity back"
    nothing_to_undo: ClassVar[str | None] = "the VM has left the host by then, so its claim stays given back"

    def __init__(self, allocator: Allocator) -> None:
        self._allocator = allocator

    def do(self, tx: Tx, given: ReleaseHostInput) -> Nothing:
        """Give the capacity back; a VM that holds nothing is success."""
        self._allocator.release(tx, VmId(given.uuid))
        return NOTHING
