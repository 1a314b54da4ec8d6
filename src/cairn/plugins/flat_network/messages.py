"""What nodes say to each other about flat networks."""

from __future__ import annotations

from typing import ClassVar

from cairn.kernel.bus.message import Command
from cairn.services.ids import L3NetworkId


class NamesChanged(Command[None], frozen=True, kw_only=True, tag="flat-network.names-changed"):
    """VMs of a network have come or gone; the node that the ring names for the network tells its hosts their names."""

    route: ClassVar[str | None] = "l3_network"

    l3_network: L3NetworkId
