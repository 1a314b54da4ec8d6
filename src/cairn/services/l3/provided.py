"""The L3 service for other services: its networks and their addresses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from cairn.kernel.store.store import Tx
from cairn.services.ids import ClusterId, L2NetworkId, L3NetworkId, ZoneId
from cairn.services.l3.messages import ClaimedAddress


class L3View(Struct, frozen=True, kw_only=True):
    """An L3 network, as network services need it."""

    uuid: L3NetworkId
    name: str
    zone_uuid: ZoneId
    l2_network_uuid: L2NetworkId
    cluster_uuids: list[ClusterId]  #: that its L2 network is attached to
    bridge: str  #: the same on every host
    mtu: int  #: bytes
    netmask: str | None  #: None: it has no address range yet
    gateway: str | None
    dns_domain: str | None
    dns: list[str]  #: name servers, in the order in which they were added
    services: dict[str, str]  #: service type -> type of its provider: ``{"DHCP": "Flat"}``


class L3Place(Struct, frozen=True, kw_only=True):
    """An L3 network with the L2 network that it is on."""

    uuid: L3NetworkId
    name: str
    l2_network_uuid: L2NetworkId


class L3Networks(Protocol):
    """Access to all L3 networks, inside the caller's transactions."""

    def views(self, tx: Tx, l3_networks: Sequence[L3NetworkId]) -> dict[L3NetworkId, L3View]:
        """The networks with these uuids, in full; those that do not exist are left out."""

    def places(self, tx: Tx, l3_networks: Sequence[L3NetworkId]) -> dict[L3NetworkId, L3Place]:
        """The L2 networks of the networks with these uuids, in one statement; for hot paths."""

    def claim(
        self, tx: Tx, l3_network: L3NetworkId, *, used_for: str | None, required_ip: str | None = None
    ) -> ClaimedAddress:
        """Take an address.

        Args:
            used_for: uuid of the VM; None: the cloud's own use, which does not keep the network from being deleted.
            required_ip: this one and no other.

        Raises:
            CairnError: ``l3.not-found``, ``l3.disabled``, ``l3.system``, ``l3.no-free-address``, ``l3.address-taken``,
                ``l3.address-outside``.
        """

    def release(self, tx: Tx, used_ip: str) -> None:
        """Give an address back. Safe to repeat."""
