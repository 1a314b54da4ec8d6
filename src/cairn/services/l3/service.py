"""The L3 service: answers the API's calls about L3 networks."""

from __future__ import annotations

from collections.abc import Callable

from cairn.kernel.api import Reference
from cairn.kernel.bus.handlers import handles
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.jobs import Jobs
from cairn.kernel.resource import changed, enter, erase, existing, new, state_changed
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import Tags
from cairn.services.ids import L3NetworkId
from cairn.services.l2.model import L2Network
from cairn.services.l3.addresses import hold_ranges, vms_in
from cairn.services.l3.messages import (
    AddDnsToL3Network,
    AttachNetworkServiceToL3Network,
    ChangeL3NetworkState,
    CreateL3Network,
    DeleteL3Network,
    DetachNetworkServiceFromL3Network,
    GetNetworkServiceTypes,
    NetworkServiceTypes,
    RemoveDnsFromL3Network,
    UpdateL3Network,
)
from cairn.services.l3.model import L3Network, L3NetworkDns
from cairn.services.l3.networks import NetworkChanges
from cairn.services.l3.providers import Providers


class L3Service:
    """Answers the messages about L3 networks themselves."""

    def __init__(self, jobs: Jobs, tags: Tags, providers: Providers, changes: NetworkChanges) -> None:
        self._jobs = jobs
        self._tags = tags
        self._providers = providers
        self._changes = changes

    @handles(CreateL3Network)
    async def create(self, message: CreateL3Network) -> Reference:
        """Make a network in the zone of its L2 network, served by the providers that do so without being asked."""

        def fn(tx: Tx) -> Reference:
            l2 = existing(tx, L2Network, message.l2_network_uuid, "l2NetworkUuid")
            network = new(tx, L3Network, message, zone_uuid=l2.zone_uuid)
            answer = enter(tx, self._tags, message, network)
            self._providers.attach_automatic(tx, network)
            self._changes.announce(tx, network.uuid)
            return answer

        return await self._jobs.commit(fn)

    @handles(UpdateL3Network)
    async def update(self, message: UpdateL3Network) -> Reference:
        """Change the fields that are given, and announce it."""

        def fn(tx: Tx) -> Reference:
            self._changes.announce(tx, L3NetworkId(message.uuid))
            return changed(tx, L3Network, message)

        return await self._jobs.commit(fn)

    @handles(ChangeL3NetworkState)
    async def change_state(self, message: ChangeL3NetworkState) -> Reference:
        """Enable or disable a network, and announce it."""

        def fn(tx: Tx) -> Reference:
            self._changes.announce(tx, L3NetworkId(message.uuid))
            return state_changed(tx, L3Network, message)

        return await self._jobs.commit(fn)

    @handles(DeleteL3Network)
    async def delete(self, message: DeleteL3Network) -> None:
        """Remove it with its ranges; one that is gone is success."""

        def fn(tx: Tx) -> None:
            network = tx.get(L3Network, message.uuid)
            if network is None:
                return
            _check_no_vms(tx, network, "deleted", "Delete them first.")
            _delete(tx, network)
            self._changes.announce(tx, network.uuid)

        await self._jobs.commit(fn)

    @handles(AddDnsToL3Network)
    async def add_dns(self, message: AddDnsToL3Network) -> Reference:
        """Add a name server, unless it is there."""

        def change(tx: Tx, network: L3Network) -> None:
            if not tx.count(L3NetworkDns, l3_network_uuid=network.uuid, dns=message.dns):
                tx.insert(L3NetworkDns(l3_network_uuid=network.uuid, dns=message.dns, create_date=tx.now))

        return await self._change(message.l3_network_uuid, change)

    @handles(RemoveDnsFromL3Network)
    async def remove_dns(self, message: RemoveDnsFromL3Network) -> Reference:
        """Take a name server away, if it is there."""

        def change(tx: Tx, network: L3Network) -> None:
            tx.delete_where(L3NetworkDns, l3_network_uuid=network.uuid, dns=message.dns)

        return await self._change(message.l3_network_uuid, change)

    @handles(AttachNetworkServiceToL3Network)
    async def attach_services(self, message: AttachNetworkServiceToL3Network) -> Reference:
        """Have providers serve the network; each prepares for it in the same transaction."""
        return await self._change(
            message.l3_network_uuid,
            lambda tx, network: self._providers.attach(tx, network, message.network_services),
        )

    @handles(DetachNetworkServiceFromL3Network)
    async def detach_services(self, message: DetachNetworkServiceFromL3Network) -> Reference:
        """End services, unless VMs have network cards in the network."""

        def change(tx: Tx, network: L3Network) -> None:
            if self._providers.detach(tx, network, message.network_services):
                _check_no_vms(
                    tx, network, "left by a service", "Delete them first, as their hosts would go on serving them."
                )

        return await self._change(message.l3_network_uuid, change)

    @handles(GetNetworkServiceTypes)
    async def service_types(self, message: GetNetworkServiceTypes) -> NetworkServiceTypes:
        """List the services that plugins offer, by provider."""
        return NetworkServiceTypes(types=self._providers.offered())

    async def _change(self, l3_network: str, change: Callable[[Tx, L3Network], None]) -> Reference:
        def fn(tx: Tx) -> Reference:
            network = existing(tx, L3Network, l3_network, "l3NetworkUuid")
            change(tx, network)
            self._changes.announce(tx, network.uuid)
            return Reference(uuid=network.uuid)

        return await self._jobs.commit(fn)


def _check_no_vms(tx: Tx, network: L3Network, what: str, do: str) -> None:
    hold_ranges(tx, network.uuid)
    vms = vms_in(tx, network.uuid)
    if vms:
        raise CairnError(
            "l3.in-use",
            f"The L3 network {network.name} cannot be {what}: {vms} VMs have network cards in it. {do}",
            kind=ErrorKind.CONFLICT,
            details={"l3Network": network.uuid, "vms": vms},
        )


def _delete(tx: Tx, network: L3Network) -> None:
    try:
        erase(tx, L3Network, network.uuid)
    except CairnError as error:
        if error.code != "store.reference":
            raise
        raise CairnError(
            "l3.in-use",
            f"The L3 network {network.name} cannot be deleted: something still belongs to it, such as the network cards of "
            "destroyed VMs. Expunge those VMs (ExpungeVmInstance) first.",
            kind=ErrorKind.CONFLICT,
            details={"l3Network": network.uuid},
            cause=error,
        ) from error
