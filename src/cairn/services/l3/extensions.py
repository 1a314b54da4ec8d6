"""Extension points of L3 networks."""

from __future__ import annotations

from typing import Protocol

from cairn.kernel.store.store import Tx
from cairn.services.ids import L3NetworkId


class NetworkChanged(Protocol):
    """A listener that is told when an L3 network has changed; for plugins that keep in memory what they know of it."""

    def network_changed(self, l3_network: L3NetworkId) -> None:
        """The network was made, changed or deleted: itself, its ranges, name servers, services, or its clusters.

        Called on the event loop once the change is committed, on the node that made it and on no other. Must not raise.
        """


class NetworkServices(Protocol):
    """A provider of network services, named by its type (``Flat``)."""

    name: str  #: for people to read
    doc: str  #: in a sentence
    types: tuple[str, ...]  #: ``DHCP``, ``DNS``, ``Userdata``, …

    def automatic(self) -> bool:
        """Whether new networks get all of its services without being asked for."""

    def prepare(self, tx: Tx, l3_network: L3NetworkId) -> None:
        """Claim addresses and the like that serving the network needs; raising refuses.

        Called inside the transaction that attaches services of this provider to a network, or gives a network that has
        some another address range, or takes one from it, with all addresses in it. Safe to repeat.
        """
