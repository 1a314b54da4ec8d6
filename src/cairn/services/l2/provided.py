"""The L2 service for other services: its networks, inside their transactions and on hosts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from msgspec import Struct

from cairn.kernel.store.store import Tx
from cairn.services.ids import ClusterId, HostId, L2NetworkId, ZoneId


class L2View(Struct, frozen=True, kw_only=True):
    """An L2 network, as other services need it."""

    uuid: L2NetworkId
    name: str
    type: str  #: ``L2NoVlanNetwork`` or ``VxlanNetwork``
    zone_uuid: ZoneId
    bridge: str  #: its bridge's name, the same on every host
    mtu: int  #: bytes that a frame may carry, less where a tunnel takes its part
    cluster_uuids: list[ClusterId]  #: that it is attached to


class L2Networks(Protocol):
    """Access to all L2 networks."""

    def views(self, tx: Tx, l2_networks: Sequence[L2NetworkId]) -> dict[L2NetworkId, L2View]:
        """The networks with these uuids; those that do not exist are left out."""

    def why_not_on(self, host: HostId, l2_network: L2NetworkId) -> str | None:
        """Why a network could not be made on a host that is connected; None: it is there, or was not tried by this node."""

    async def ensure(self, host: HostId, l2_networks: Iterable[L2NetworkId]) -> None:
        """See that networks' bridges are there on a host; nothing is called when this node knows that they are.

        Raises:
            CairnError: ``l2.realize-failed``, ``l2.detached`` from the host's cluster, ``host.not-found``.
        """
