"""Claiming a host for a VM, and giving it back."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct
from msgspec.structs import replace

from cairn.kernel.api import ApiCreate
from cairn.kernel.bus.message import Message
from cairn.kernel.flow.step import NOTHING, Nothing, TransactionStep
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import SystemTag
from cairn.services.host.extensions import Candidate, HostNeed
from cairn.services.host.placement.allocator import Allocator
from cairn.services.ids import VmId


class ClaimHostInput(Struct, frozen=True, kw_only=True):
    """The needs of the VM that a host is chosen for, and the call that it is chosen for."""

    host_need: HostNeed
    asked: Message | None = None


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
        """Claim in one statement; if no host fits, administrators are told why (``host.none-fits``).

        Filters are given the VM's tags: those that it is being made with, or those that it has now.
        """
        need, asked = given.host_need, given.asked
        tags = asked.system_tags if isinstance(asked, ApiCreate) else _tags_of(tx, need.vm_uuid)
        return ClaimHostOutput(place=self._allocator.claim(tx, replace(need, tags=list(tags))))

    def undo(self, tx: Tx, given: ClaimHostInput, made: ClaimHostOutput | None) -> None:
        """Give the capacity back; a VM that holds nothing is success."""
        self._allocator.release(tx, given.host_need.vm_uuid)


def _tags_of(tx: Tx, vm: VmId) -> list[str]:
    return [row.text for row in tx.find(SystemTag, resource_uuid=vm)]


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
