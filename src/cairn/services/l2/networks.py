"""The implementation of `L2Networks`, which other services use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cairn.kernel.resource import taken
from cairn.kernel.store.store import Tx
from cairn.services.ids import HostId, L2NetworkId
from cairn.services.l2.provided import L2Networks, L2View
from cairn.services.l2.reconciler import L2Reconciler, load


class L2Registry(L2Networks):
    """Looks L2 networks up, and has them made on hosts."""

    def __init__(self, reconciler: L2Reconciler) -> None:
        self._reconciler = reconciler

    def views(self, tx: Tx, l2_networks: Sequence[L2NetworkId]) -> dict[L2NetworkId, L2View]:
        """The networks with these uuids."""
        return {
            found.network.uuid: taken(L2View, found, found.network, bridge=found.network.bridge, mtu=found.network.mtu)
            for found in load(tx, l2_networks)
        }

    async def ensure(self, host: HostId, l2_networks: Iterable[L2NetworkId]) -> None:
        """See that networks are there on a host."""
        await self._reconciler.ensure(host, l2_networks)
