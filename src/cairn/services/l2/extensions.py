"""What others can ask of L2 networks inside their own transactions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from cairn.kernel.store.store import Tx


class L2View(Struct, frozen=True, kw_only=True):
    """An L2 network, as other services need it."""

    uuid: str
    name: str
    type: str  #: ``L2NoVlanNetwork`` or ``VxlanNetwork``
    zone_uuid: str
    bridge: str  #: its bridge's name, the same on every host
    mtu: int  #: bytes that a frame may carry, less where a tunnel takes its part
    cluster_uuids: list[str]  #: that it is attached to


class L2Networks(Protocol):
    """Provided by the L2 service, under the name ``l2``."""

    def views(self, tx: Tx, l2_networks: Sequence[str]) -> dict[str, L2View]:
        """The networks with these uuids; those that do not exist are left out."""
