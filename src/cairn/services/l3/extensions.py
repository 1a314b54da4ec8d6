"""What plugins can do with L3 networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.store.store import Tx
from cairn.services.l3.messages import ClaimedAddress


class L3View(Struct, frozen=True, kw_only=True):
    """An L3 network, as network services need it."""

    uuid: str
    name: str
    zone_uuid: str
    l2_network_uuid: str
    cluster_uuids: list[str]  #: that its L2 network is attached to
    bridge: str  #: the same on every host
    mtu: int  #: bytes
    netmask: str | None  #: None: it has no address range yet
    gateway: str | None
    dns_domain: str | None
    dns: list[str]  #: name servers, in the order in which they were added
    services: dict[str, str]  #: service type -> type of its provider: ``{"DHCP": "Flat"}``


class L3Place(Struct, frozen=True, kw_only=True):
    """Where an L3 network lies."""

    uuid: str
    name: str
    l2_network_uuid: str


class L3Networks(Protocol):
    """Provided by the L3 service, under the name ``l3``."""

    def views(self, tx: Tx, l3_networks: Sequence[str]) -> dict[str, L3View]:
        """All about the networks with these uuids; those that do not exist are left out."""

    def places(self, tx: Tx, l3_networks: Sequence[str]) -> dict[str, L3Place]:
        """The L2 networks of the networks with these uuids, in one statement; for hot paths."""

    def on_l2(self, tx: Tx, l2_network: str) -> list[L3Place]:
        """The networks on an L2 network."""

    def claim(self, tx: Tx, l3_network: str, *, used_for: str | None, required_ip: str | None = None) -> ClaimedAddress:
        """Take an address.

        Args:
            used_for: uuid of the VM; None: the cloud's own use, which does not keep the network from being deleted.
            required_ip: this one and no other.

        Raises:
            CairnError: ``l3-network.not-found``, ``l3.disabled``, ``l3.no-free-address``, ``l3.address-taken``,
                ``l3.address-outside``.
        """

    def release(self, tx: Tx, used_ip: str) -> None:
        """Give an address back. Safe to repeat."""


class NetworkChanged(Protocol):
    """Told that an L3 network is not what it was; for those who keep in memory what they know of it."""

    def network_changed(self, l3_network: str) -> None:
        """The network was made, changed or deleted: itself, its ranges, name servers, services, or its clusters.

        Called on the event loop once the change is committed, on the node that made it and on no other. Must not raise.
        """


def announce(extensions: Extensions, tx: Tx, l3_network: str) -> None:
    """Have everybody told of the change of a network once `tx` is committed."""

    def tell() -> None:
        for listener in extensions.of(NetworkChanged):
            listener.network_changed(l3_network)

    tx.after_commit(tell)


class NetworkServices(Protocol):
    """A provider of network services, named by its type (``Flat``)."""

    name: str  #: what people read
    doc: str  #: in a sentence
    types: tuple[str, ...]  #: ``DHCP``, ``DNS``, ``Userdata``, …

    def automatic(self) -> bool:
        """Whether new networks get all of its services without being asked for."""

    def prepare(self, tx: Tx, l3_network: str) -> None:
        """Claim what is needed to serve the network; raising refuses.

        Called inside the transaction that attaches services of this provider to a network, or gives a network that has
        some another address range. Must be content to find everything in place.
        """
