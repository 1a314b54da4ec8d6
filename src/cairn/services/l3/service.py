"""The L3 service: what people ask of L3 networks."""

from __future__ import annotations

from collections.abc import Callable

from cairn.kernel.api import Reference
from cairn.kernel.bus.bus import Bus
from cairn.kernel.error import CairnError, ErrorKind, not_found
from cairn.kernel.jobs import Jobs
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.resource import erase, write
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import Tags
from cairn.services.l2.extensions import L2Networks
from cairn.services.l3.addresses import vms_in
from cairn.services.l3.extensions import announce
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
    StateEvent,
    UpdateL3Network,
)
from cairn.services.l3.model import IpRange, L3Network, L3NetworkDns, L3State
from cairn.services.l3.providers import Providers
from cairn.services.l3.subnet import address, to_ip


class L3Service:
    """Answers the messages about L3 networks themselves."""

    def __init__(self, bus: Bus, jobs: Jobs, tags: Tags, extensions: Extensions, providers: Providers) -> None:
        self._jobs = jobs
        self._tags = tags
        self._extensions = extensions
        self._providers = providers
        bus.register(CreateL3Network, self.create)
        bus.register(UpdateL3Network, self.update)
        bus.register(ChangeL3NetworkState, self.change_state)
        bus.register(DeleteL3Network, self.delete)
        bus.register(AddDnsToL3Network, self.add_dns)
        bus.register(RemoveDnsFromL3Network, self.remove_dns)
        bus.register(AttachNetworkServiceToL3Network, self.attach_services)
        bus.register(DetachNetworkServiceFromL3Network, self.detach_services)
        bus.register(GetNetworkServiceTypes, self.service_types)

    async def create(self, message: CreateL3Network) -> Reference:
        """Make a network."""
        uuid = message.resource_uuid
        assert uuid is not None  # the gateway fills it in
        self._tags.check("L3Network", message.system_tags)

        def fn(tx: Tx) -> Reference:
            l2 = self._extensions.named(L2Networks, "l2").views(tx, [message.l2_network_uuid])
            if message.l2_network_uuid not in l2:
                raise not_found("l2-network", "l2NetworkUuid", message.l2_network_uuid)
            network = L3Network(
                uuid=uuid,
                name=message.name,
                description=message.description,
                zone_uuid=l2[message.l2_network_uuid].zone_uuid,
                l2_network_uuid=message.l2_network_uuid,
                category=message.category,
                system=message.system,
                dns_domain=message.dns_domain,
                create_date=tx.now,
                last_op_date=tx.now,
            )
            write(tx, network)
            self._tags.add(tx, "L3Network", uuid, system=message.system_tags, user=message.user_tags)
            self._providers.attach_automatic(tx, network)
            announce(self._extensions, tx, uuid)
            return Reference(uuid=uuid)

        return await self._jobs.commit(fn)

    async def update(self, message: UpdateL3Network) -> Reference:
        """Change what is given."""

        def change(tx: Tx, network: L3Network) -> None:
            given = {
                name: value
                for name in ("name", "description", "dns_domain", "category", "system")
                if (value := getattr(message, name)) is not None
            }
            tx.update(L3Network, network.uuid, **given, last_op_date=tx.now)

        return await self._change(message.uuid, "uuid", change)

    async def change_state(self, message: ChangeL3NetworkState) -> Reference:
        """Enable or disable it."""
        state = L3State.ENABLED if message.state_event is StateEvent.ENABLE else L3State.DISABLED

        def change(tx: Tx, network: L3Network) -> None:
            tx.update(L3Network, network.uuid, state=state, last_op_date=tx.now)

        return await self._change(message.uuid, "uuid", change)

    async def delete(self, message: DeleteL3Network) -> None:
        """Remove it with its ranges; one that is gone is success."""

        def fn(tx: Tx) -> None:
            network = tx.get(L3Network, message.uuid)
            if network is None:
                return
            _check_no_vms(tx, network, "deleted", "Delete them first.")
            for range_ in tx.find(IpRange, l3_network_uuid=network.uuid):
                erase(tx, IpRange, range_.uuid)
            self._tags.forget(tx, network.uuid)
            _delete(tx, network)
            announce(self._extensions, tx, network.uuid)

        await self._jobs.commit(fn)

    async def add_dns(self, message: AddDnsToL3Network) -> Reference:
        """Add a name server."""
        dns = to_ip(address("dns", message.dns))

        def change(tx: Tx, network: L3Network) -> None:
            if not tx.count(L3NetworkDns, l3_network_uuid=network.uuid, dns=dns):
                tx.insert(L3NetworkDns(l3_network_uuid=network.uuid, dns=dns, create_date=tx.now))

        return await self._change(message.l3_network_uuid, "l3NetworkUuid", change)

    async def remove_dns(self, message: RemoveDnsFromL3Network) -> Reference:
        """Take a name server away."""
        dns = to_ip(address("dns", message.dns))

        def change(tx: Tx, network: L3Network) -> None:
            tx.delete_where(L3NetworkDns, l3_network_uuid=network.uuid, dns=dns)

        return await self._change(message.l3_network_uuid, "l3NetworkUuid", change)

    async def attach_services(self, message: AttachNetworkServiceToL3Network) -> Reference:
        """Have it served."""

        def change(tx: Tx, network: L3Network) -> None:
            self._providers.attach(tx, network, message.network_services)

        return await self._change(message.l3_network_uuid, "l3NetworkUuid", change)

    async def detach_services(self, message: DetachNetworkServiceFromL3Network) -> Reference:
        """Have it served no more."""

        def change(tx: Tx, network: L3Network) -> None:
            if self._providers.detach(tx, network, message.network_services):
                _check_no_vms(
                    tx, network, "left by a service", "Delete them first, as their hosts would go on serving them."
                )

        return await self._change(message.l3_network_uuid, "l3NetworkUuid", change)

    async def service_types(self, message: GetNetworkServiceTypes) -> NetworkServiceTypes:
        """What plugins offer."""
        return NetworkServiceTypes(types=self._providers.offered())

    async def _change(self, uuid: str, field: str, change: Callable[[Tx, L3Network], None]) -> Reference:
        def fn(tx: Tx) -> Reference:
            network = tx.get(L3Network, uuid)
            if network is None:
                raise not_found("l3-network", field, uuid)
            change(tx, network)
            announce(self._extensions, tx, uuid)
            return Reference(uuid=uuid)

        return await self._jobs.commit(fn)


def _check_no_vms(tx: Tx, network: L3Network, what: str, do: str) -> None:
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
