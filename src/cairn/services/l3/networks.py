"""The implementation of `L3Networks`, and the announcements of changes."""

from __future__ import annotations

from collections.abc import Sequence

from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.resource import taken
from cairn.kernel.store.remembered import Remembered
from cairn.kernel.store.store import Tx
from cairn.services.ids import L2NetworkId, L3NetworkId
from cairn.services.l2.extensions import L2AttachmentChanged
from cairn.services.l2.provided import L2Networks
from cairn.services.l3.addresses import Addresses
from cairn.services.l3.extensions import NetworkChanged
from cairn.services.l3.messages import ClaimedAddress
from cairn.services.l3.model import (
    IpRange,
    L3Network,
    L3NetworkDns,
    NetworkServiceL3NetworkRef,
    NetworkServiceProvider,
    UsedIp,
)
from cairn.services.l3.provided import L3Networks, L3Place, L3View


class L3Registry(L3Networks):
    """Looks L3 networks up, and claims their addresses."""

    def __init__(self, addresses: Addresses, l2: L2Networks) -> None:
        self._addresses = addresses
        self._l2 = l2
        self._places = Remembered(_places, (L3Network,))

    def views(self, tx: Tx, l3_networks: Sequence[L3NetworkId]) -> dict[L3NetworkId, L3View]:
        """Read the networks with the views of their L2 networks: one statement for each table."""
        networks = tx.find(L3Network, uuid=l3_networks)
        l2 = self._l2.views(tx, list({row.l2_network_uuid for row in networks}))
        services = _services(tx, l3_networks)
        dns: dict[L3NetworkId, list[str]] = {}
        for row in tx.find(L3NetworkDns, l3_network_uuid=l3_networks, order_by="id"):
            dns.setdefault(row.l3_network_uuid, []).append(row.dns)
        ranges = {row.l3_network_uuid: row for row in tx.find(IpRange, l3_network_uuid=l3_networks)}
        return {
            row.uuid: taken(
                L3View,
                row,
                l2[row.l2_network_uuid],
                netmask=ranges[row.uuid].netmask if row.uuid in ranges else None,
                gateway=ranges[row.uuid].gateway if row.uuid in ranges else None,
                dns=dns.get(row.uuid, []),
                services=services.get(row.uuid, {}),
            )
            for row in networks
        }

    def places(self, tx: Tx, l3_networks: Sequence[L3NetworkId]) -> dict[L3NetworkId, L3Place]:
        """Answer from memory as long as no L3 network changes."""
        return self._places.get(tx, tuple(l3_networks))

    def claim(
        self, tx: Tx, l3_network: L3NetworkId, *, used_for: str | None, required_ip: str | None = None
    ) -> ClaimedAddress:
        """Take an address; see `Addresses.claim`."""
        return self._addresses.claim(tx, l3_network, used_for=used_for, required_ip=required_ip)

    def release(self, tx: Tx, used_ip: str) -> None:
        """Give an address back; one that was given back before is left alone."""
        self._addresses.release(tx, tx.find(UsedIp, uuid=used_ip))


class NetworkChanges(L2AttachmentChanged):
    """Tells the `NetworkChanged` listeners of changes."""

    def __init__(self, extensions: Extensions) -> None:
        self._extensions = extensions

    def announce(self, tx: Tx, l3_network: L3NetworkId) -> None:
        """Tell all listeners that a network has changed, once `tx` is committed."""

        def tell() -> None:
            for listener in self._extensions.of(NetworkChanged):
                listener.network_changed(l3_network)

        tx.after_commit(tell)

    def l2_attachment_changed(self, tx: Tx, l2_network: L2NetworkId) -> None:
        """Announce a change of each L3 network on it: they are in other clusters now."""
        for row in tx.find(L3Network, l2_network_uuid=l2_network, order_by="name"):
            self.announce(tx, row.uuid)


def _places(tx: Tx, l3_networks: tuple[L3NetworkId, ...]) -> dict[L3NetworkId, L3Place]:
    return {row.uuid: taken(L3Place, row) for row in tx.find(L3Network, uuid=l3_networks)}


def _services(tx: Tx, l3_networks: Sequence[L3NetworkId]) -> dict[L3NetworkId, dict[str, str]]:
    refs = tx.find(NetworkServiceL3NetworkRef, l3_network_uuid=l3_networks)
    uuids = {ref.network_service_provider_uuid for ref in refs}
    types = {row.uuid: row.type for row in tx.find(NetworkServiceProvider, uuid=uuids)}
    found: dict[L3NetworkId, dict[str, str]] = {}
    for ref in refs:
        found.setdefault(ref.l3_network_uuid, {})[ref.network_service_type] = types[ref.network_service_provider_uuid]
    return found
