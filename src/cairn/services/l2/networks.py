"""The implementation of `L2Networks`, which other services use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.handlers import handles
from cairn.kernel.resource import taken
from cairn.kernel.store.store import Tx
from cairn.services.host.provided import HostSyncs
from cairn.services.ids import HostId, L2NetworkId
from cairn.services.l2.messages import EnsureL2Networks
from cairn.services.l2.provided import L2Networks, L2View
from cairn.services.l2.reconciler import KIND, L2Reconciler, load


class L2Registry(L2Networks):
    """Looks L2 networks up, and has them made on hosts."""

    def __init__(self, bus: Bus, reconciler: L2Reconciler, syncs: HostSyncs) -> None:
        self._bus = bus
        self._reconciler = reconciler
        self._syncs = syncs

    def why_not_on(self, host: HostId, l2_network: L2NetworkId) -> str | None:
        """Why a network cannot be made on a host, as it was found last."""
        return self._syncs.failing(host, KIND, l2_network)

    def views(self, tx: Tx, l2_networks: Sequence[L2NetworkId]) -> dict[L2NetworkId, L2View]:
        """The networks with these uuids."""
        return {
            found.network.uuid: taken(L2View, found, found.network, bridge=found.network.bridge, mtu=found.network.mtu)
            for found in load(tx, l2_networks)
        }

    async def ensure(self, host: HostId, l2_networks: Iterable[L2NetworkId]) -> None:
        """See that networks are there on a host."""
        message = EnsureL2Networks(host=host, l2_networks=list(l2_networks))
        await self._bus.at_owner(message, lambda: self.ensure_here(message))

    @handles(EnsureL2Networks)
    async def ensure_here(self, message: EnsureL2Networks) -> None:
        """Networks are needed on a host that belongs to this node."""
        await self._reconciler.ensure(HostId(message.host), [L2NetworkId(uuid) for uuid in message.l2_networks])
