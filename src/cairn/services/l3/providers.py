"""Providers of network services, and the networks that they serve.

Plugins provide `NetworkServices`; each gets a row, so that people can query it and name it. The row of a plugin that
was left out stays as long as a network is said to be served by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b

from cairn.kernel.error import CairnError, ErrorKind, invalid
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.store.store import Store, Tx
from cairn.services.ids import L3NetworkId
from cairn.services.l3.extensions import NetworkServices
from cairn.services.l3.model import (
    L3Network,
    NetworkServiceL3NetworkRef,
    NetworkServiceProvider,
    NetworkServiceType,
)


def provider_uuid(type_: str) -> str:
    """The uuid of a provider: the same on every node and in every cloud."""
    return blake2b(type_.encode(), digest_size=16, person=b"cairn-provider").hexdigest()


class Providers:
    """Keeps the rows of providers, and those that tell which networks they serve."""

    def __init__(self, store: Store, extensions: Extensions) -> None:
        self._store = store
        self._extensions = extensions

    async def start(self) -> None:
        """Bring the rows in line with the plugins that are there."""
        await self._store.write(self._sync)

    async def stop(self) -> None:
        """Nothing to end: no task runs in the background."""

    def offered(self) -> dict[str, list[str]]:
        """The service types that each provider offers, by the provider's type."""
        names = self._extensions.names(NetworkServices)
        return {name: list(self._extensions.named(NetworkServices, name).types) for name in names}

    def attach_automatic(self, tx: Tx, network: L3Network) -> None:
        """Have a new network served by the providers that do so without being asked."""
        for type_ in self._extensions.names(NetworkServices):
            provider = self._extensions.named(NetworkServices, type_)
            taken = {ref.network_service_type for ref in _refs(tx, network.uuid)}
            free = [service for service in provider.types if service not in taken]
            if free and provider.automatic():
                self._attach(tx, network, type_, free)

    def attach(self, tx: Tx, network: L3Network, services: Mapping[str, Sequence[str]]) -> None:
        """Have a network served; see `AttachNetworkServiceToL3Network`."""
        for uuid, types in services.items():
            type_, provider = self._find(uuid)
            unknown = [service for service in types if service not in provider.types]
            if unknown:
                offers = ", ".join(provider.types)
                raise invalid(
                    "l3.not-offered", "networkServices", unknown, f"the provider {provider.name} offers {offers}"
                )
            self._attach(tx, network, type_, types)

    def detach(self, tx: Tx, network: L3Network, services: Mapping[str, Sequence[str]]) -> int:
        """Take services away. Returns how many were attached."""
        return sum(
            tx.delete_where(
                NetworkServiceL3NetworkRef,
                l3_network_uuid=network.uuid,
                network_service_provider_uuid=uuid,
                network_service_type=list(types),
            )
            for uuid, types in services.items()
        )

    def prepare(self, tx: Tx, l3_network: L3NetworkId) -> None:
        """Have a network's providers claim what they need of it."""
        attached = {ref.network_service_provider_uuid for ref in _refs(tx, l3_network)}
        for type_ in self._extensions.names(NetworkServices):
            if provider_uuid(type_) in attached:
                self._extensions.named(NetworkServices, type_).prepare(tx, l3_network)

    def _attach(self, tx: Tx, network: L3Network, type_: str, services: Sequence[str]) -> None:
        provider = self._ensure_row(tx, type_)
        taken = {ref.network_service_type: ref.network_service_provider_uuid for ref in _refs(tx, network.uuid)}
        for service in services:
            if service not in taken:
                tx.insert(
                    NetworkServiceL3NetworkRef(
                        l3_network_uuid=network.uuid,
                        network_service_provider_uuid=provider,
                        network_service_type=service,
                    )
                )
            elif taken[service] != provider:
                raise _taken(tx, network, service, taken[service])
        self._extensions.named(NetworkServices, type_).prepare(tx, network.uuid)

    def _find(self, uuid: str) -> tuple[str, NetworkServices]:
        for type_ in self._extensions.names(NetworkServices):
            if provider_uuid(type_) == uuid:
                return type_, self._extensions.named(NetworkServices, type_)
        known = {provider_uuid(type_): type_ for type_ in self._extensions.names(NetworkServices)}
        listed = ", ".join(f"{name} ({uuid})" for uuid, name in known.items()) or "none: no plugin brings one"
        raise CairnError(
            "l3.no-provider",
            f"networkServices: no provider of network services has the uuid {uuid!r}. There are: {listed}.",
            kind=ErrorKind.NOT_FOUND,
            fields={"networkServices": f"found {uuid!r}; one of these would fit: {listed}"},
        )

    def _sync(self, tx: Tx) -> None:
        names = self._extensions.names(NetworkServices)
        for type_ in names:
            self._ensure_row(tx, type_)
        for row in tx.find(NetworkServiceProvider):
            if row.type not in names and not tx.count(
                NetworkServiceL3NetworkRef, network_service_provider_uuid=row.uuid
            ):
                tx.delete(NetworkServiceProvider, row.uuid)

    def _ensure_row(self, tx: Tx, type_: str) -> str:
        provider = self._extensions.named(NetworkServices, type_)
        uuid = provider_uuid(type_)
        if tx.get(NetworkServiceProvider, uuid) is None:
            tx.insert(
                NetworkServiceProvider(
                    uuid=uuid,
                    name=provider.name,
                    description=provider.doc,
                    type=type_,
                    create_date=tx.now,
                    last_op_date=tx.now,
                )
            )
        known = {row.type for row in tx.find(NetworkServiceType, network_service_provider_uuid=uuid)}
        for service in provider.types:
            if service not in known:
                tx.insert(NetworkServiceType(network_service_provider_uuid=uuid, type=service))
        return uuid


def _refs(tx: Tx, l3_network: L3NetworkId) -> list[NetworkServiceL3NetworkRef]:
    return tx.find(NetworkServiceL3NetworkRef, l3_network_uuid=l3_network)


def _taken(tx: Tx, network: L3Network, service: str, by: str) -> CairnError:
    other = tx.get(NetworkServiceProvider, by)
    name = other.name if other else by
    return CairnError(
        "l3.service-taken",
        f"networkServices: the L3 network {network.name} has {service} from {name} already, and one service has one provider. "
        f"Detach it first (DetachNetworkServiceFromL3Network with {by}).",
        kind=ErrorKind.CONFLICT,
        fields={"networkServices": f"found {service}; a service that the network does not have yet would fit"},
    )
