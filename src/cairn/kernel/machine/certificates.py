"""When the cloud's certificates end: the authority's, the node's, and those of the agents of each kind of machine.

What an agent really shows counts, as it tells in its answers to pings, and not what was made for it: a renewal that does
not get there is what somebody has to hear of. Machines are counted by kind, so the names are as few as the kinds.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from msgspec import Struct

from cairn.kernel.deploy.authority import LEAF_VALIDITY, RENEWAL, Authority
from cairn.kernel.machine.client import MachineClient
from cairn.kernel.machine.machines import Machines

#: what is left of the authority's certificate while those that it signs can still have their whole time
_AUTHORITY_SECONDS = LEAF_VALIDITY.total_seconds()
_RENEWAL_SECONDS = RENEWAL.total_seconds()


class CertificateView(Struct, frozen=True, kw_only=True):
    """The certificates of one holder."""

    holder: str  #: ``authority``, ``node``, or a kind of machine: ``host``
    number: (
        int  #: how many there are; machines without one, or that were not heard since the node's start, are left out
    )
    ends: datetime  #: when the first of them ends
    ending: int  #: how many should have been renewed by now: less than a third of their time is left


class Certificates:
    """Looks at the certificates that are in use."""

    def __init__(self, authority: Authority, machines: Machines) -> None:
        self._authority = authority
        self._machines = machines

    def views(self) -> list[CertificateView]:
        """The authority's, the node's, and those of each kind of machine that has some."""
        return [_view(holder, ends, self._authority.now()) for holder, ends in self._ends().items() if ends]

    def ends(self) -> dict[tuple[str, ...], float]:
        """When the first of each holder ends, in seconds since the epoch; for the metric."""
        return {(holder,): min(ends.values()) for holder, ends in self._ends().items() if ends}

    def ending(self) -> dict[tuple[str, ...], float]:
        """How many of each holder should have been renewed by now; for the metric."""
        return {(view.holder,): float(view.ending) for view in self.views()}

    def _ends(self) -> dict[str, Mapping[str, float]]:
        own = {name: {name: end} for (name,), end in self._authority.ends().items()}
        return {**own, **{client.kind.noun: _ends_of(client) for client in self._machines.clients}}


def _ends_of(client: MachineClient) -> dict[str, float]:
    return {uuid: shown.ends for uuid, shown in client.shown.items() if shown.ends}


def _view(holder: str, ends: Mapping[str, float], now: float) -> CertificateView:
    least = _AUTHORITY_SECONDS if holder == "authority" else _RENEWAL_SECONDS
    return CertificateView(
        holder=holder,
        number=len(ends),
        ends=datetime.fromtimestamp(min(ends.values()), UTC),
        ending=sum(end - now < least for end in ends.values()),
    )
