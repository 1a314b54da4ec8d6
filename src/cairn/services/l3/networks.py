"""What the L3 service answers inside others' transactions."""

from __future__ import annotations

from collections.abc import Sequence

from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.store.remembered import Remembered
from cairn.kernel.store.store import Tx
from cairn.services.l2.extensions import L2Networks
from cairn.services.l3.addresses import Addresses
from cairn.services.l3.extensions import L3Place, L3View
from cairn.services.l3.messages import ClaimedAddress
from cairn.services.l3.model import (
    IpRange,
    L3Network,
    L3NetworkDns,
    NetworkServiceL3NetworkRef,
    NetworkServiceProvider,
    UsedIp,
)


class L3Directory:
    """Implements `L3Networks`."""

    def __init__(self, addresses: Addresses, extensions: Extensions) -> None:
        self._addresses = addresses
        self._extensions = extensions
        self._places = Remembered(_places, (L3Network,))

    def views(self, tx: Tx, l3_networks: Sequence[str]) -> dict[str, L3View]:
        """All about some networks."""
        networks = tx.find(L3Network, uuid=l3_networks)
        l2 = self._extensions.named(L2Networks, "l2").views(tx, list({row.l2_network_uuid for row in networks}))
        services = _services(tx, l3_networks)
        dns: dict[str, list[str]] = {}
        for row in tx.find(L3NetworkDns, l3_network_uuid=l3_networks, order_by="id"):
            dns.setdefault(row.l3_network_uuid, []).append(row.dns)
        ranges = {row.l3_network_uuid: row for row in tx.find(IpRange, l3_network_uuid=l3_networks)}
        return {
            row.uuid: L3View(
                uuid=row.uuid,
                name=row.name,
                zone_uuid=row.zone_uuid,
                l2_network_uuid=row.l2_network_uuid,
                cluster_uuids=l2[row.l2_network_uuid].cluster_uuids,
                bridge=l2[row.l2_network_uuid].bridge,
                mtu=l2[row.l2_network_uuid].mtu,
                netmask=ranges[row.uuid].netmask if row.uuid in ranges else None,
                gateway=ranges[row.uuid].gateway if row.uuid in ranges else None,
                dns_domain=row.dns_domain,
                dns=dns.get(row.uuid, []),
                services=services.get(row.uuid, {}),
            )
            for row in networks
        }

    def places(self, tx: Tx, l3_networks: Sequence[str]) -> dict[str, L3Place]:
        """Where some networks lie."""
        return self._places.get(tx, tuple(l3_networks))

    def on_l2(self, tx: Tx, l2_network: str) -> list[L3Place]:
        """The networks on an L2 network."""
        return [_place(row) for row in tx.find(L3Network, l2_network_uuid=l2_network, order_by="name")]

    def claim(self, tx: Tx, l3_network: str, *, used_for: str | None, required_ip: str | None = None) -> ClaimedAddress:
        """Take an address."""
        return self._addresses.claim(tx, l3_network, used_for=used_for, required_ip=required_ip)

    def release(self, tx: Tx, used_ip: str) -> None:
        """Give an address back."""
        self._addresses.release(tx, tx.find(UsedIp, uuid=used_ip))


def _places(tx: Tx, l3_networks: tuple[str, ...]) -> dict[str, L3Place]:
    return {row.uuid: _place(row) for row in tx.find(L3Network, uuid=l3_networks)}


def _place(row: L3Network) -> L3Place:
    return L3Place(uuid=row.uuid, name=row.name, l2_network_uuid=row.l2_network_uuid)


def _services(tx: Tx, l3_networks: Sequence[str]) -> dict[str, dict[str, str]]:
    refs = tx.find(NetworkServiceL3NetworkRef, l3_network_uuid=l3_networks)
    uuids = {ref.network_service_provider_uuid for ref in refs}
    types = {row.uuid: row.type for row in tx.find(NetworkServiceProvider, uuid=uuids)}
    found: dict[str, dict[str, str]] = {}
    for ref in refs:
        found.setdefault(ref.l3_network_uuid, {})[ref.network_service_type] = types[ref.network_service_provider_uuid]
    return found
