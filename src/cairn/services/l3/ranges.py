"""Address ranges: adding and removing them, and how much of them is left."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network

from cairn.kernel.api import ApiCreate, Reference
from cairn.kernel.bus.bus import Bus
from cairn.kernel.error import CairnError, ErrorKind, invalid, not_found
from cairn.kernel.ids import IdSource
from cairn.kernel.jobs import Jobs
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.resource import erase, write
from cairn.kernel.store.store import Store, Tx
from cairn.kernel.tag import Tags
from cairn.services.l3.addresses import free_from, holder, range_of, size, used_in, vms_in_range
from cairn.services.l3.extensions import announce
from cairn.services.l3.messages import (
    AddIpRange,
    AddIpRangeByNetworkCidr,
    CheckIpAvailability,
    DeleteIpRange,
    FreeIp,
    FreeIps,
    GetFreeIp,
    GetIpAddressCapacity,
    IpAvailability,
    IpCapacity,
    IpCapacityData,
)
from cairn.services.l3.model import IpRange, L3Network, UsedIp
from cairn.services.l3.providers import Providers
from cairn.services.l3.subnet import Range, address, by_cidr, by_ends, check_neighbours, to_ip, to_long


class RangeService:
    """Answers the messages about address ranges."""

    def __init__(
        self,
        bus: Bus,
        store: Store,
        jobs: Jobs,
        ids: IdSource,
        tags: Tags,
        extensions: Extensions,
        providers: Providers,
    ) -> None:
        self._store = store
        self._extensions = extensions
        self._jobs = jobs
        self._ids = ids
        self._tags = tags
        self._providers = providers
        bus.register(AddIpRange, self.add)
        bus.register(AddIpRangeByNetworkCidr, self.add_by_cidr)
        bus.register(DeleteIpRange, self.delete)
        bus.register(GetFreeIp, self.free)
        bus.register(GetIpAddressCapacity, self.capacity)
        bus.register(CheckIpAvailability, self.check)

    async def add(self, message: AddIpRange) -> Reference:
        """Add a range by its ends."""
        new = by_ends(message.start_ip, message.end_ip, message.netmask, message.gateway)
        return await self._add(message, message.l3_network_uuid, message.name, message.description, [new])

    async def add_by_cidr(self, message: AddIpRangeByNetworkCidr) -> Reference:
        """Add a subnet."""
        new = by_cidr(message.network_cidr, message.gateway)
        return await self._add(message, message.l3_network_uuid, message.name, message.description, new)

    async def _add(
        self, message: ApiCreate, l3_network: str, name: str, description: str | None, new: Sequence[Range]
    ) -> Reference:
        first = message.resource_uuid
        assert first is not None  # the gateway fills it in
        uuids = [first, *(self._ids.new() for _ in new[1:])]
        self._tags.check("IpRange", message.system_tags)

        def fn(tx: Tx) -> Reference:
            network = tx.get(L3Network, l3_network)
            if network is None:
                raise not_found("l3-network", "l3NetworkUuid", l3_network)
            for uuid, range_ in zip(uuids, new, strict=True):
                _check_neighbours(tx, network, range_)
                write(tx, _row(tx, uuid, network, name, description, range_))
                self._tags.add(tx, "IpRange", uuid, system=message.system_tags, user=message.user_tags)
            self._providers.prepare(tx, network.uuid)
            announce(self._extensions, tx, network.uuid)
            return Reference(uuid=first)

        return await self._jobs.commit(fn)

    async def delete(self, message: DeleteIpRange) -> None:
        """Remove a range; one that is gone is success."""

        def fn(tx: Tx) -> None:
            range_ = tx.get(IpRange, message.uuid)
            if range_ is None:
                return
            vms = vms_in_range(tx, range_.uuid)
            if vms:
                raise CairnError(
                    "l3.range-in-use",
                    f"The address range {range_.name} cannot be deleted: {vms} VMs have addresses of it. Delete them first.",
                    kind=ErrorKind.CONFLICT,
                    details={"ipRange": range_.uuid, "vms": vms},
                )
            self._tags.forget(tx, range_.uuid)
            erase(tx, IpRange, range_.uuid)
            announce(self._extensions, tx, range_.l3_network_uuid)

        await self._jobs.commit(fn)

    async def free(self, message: GetFreeIp) -> FreeIps:
        """Free addresses, lowest first."""
        start = 0 if message.start is None else address("start", message.start)

        def fn(tx: Tx) -> list[FreeIp]:
            found: list[FreeIp] = []
            for range_ in tx.find(IpRange, l3_network_uuid=message.l3_network_uuid, order_by="start_long"):
                if message.ip_range_uuid in (None, range_.uuid):
                    numbers = free_from(tx, range_, start, message.limit - len(found))
                    found += [_free(range_, number) for number in numbers]
            return found

        return FreeIps(inventories=await self._store.read(fn))

    async def capacity(self, message: GetIpAddressCapacity) -> IpCapacity:
        """How many addresses there are and are left."""
        if not (message.all or message.zone_uuids or message.l3_network_uuids or message.ip_range_uuids):
            raise invalid(
                "l3.nothing-asked",
                "l3NetworkUuids",
                [],
                "uuids in one of zoneUuids, l3NetworkUuids and ipRangeUuids, or all=true, would fit",
            )
        return await self._store.read(lambda tx: _capacity(tx, message))

    async def check(self, message: CheckIpAvailability) -> IpAvailability:
        """Whether an address can be taken."""
        number = address("ip", message.ip)

        def fn(tx: Tx) -> str | None:
            for used in tx.find(UsedIp, l3_network_uuid=message.l3_network_uuid, ip_in_long=number):
                return f"{used.ip} has {holder(used)}"
            ranges = tx.find(IpRange, l3_network_uuid=message.l3_network_uuid)
            if any(range_.gateway == to_ip(number) for range_ in ranges):
                return f"{to_ip(number)} is the network's gateway"
            if message.ip_range_check and range_of(ranges, number) is None:
                return f"{to_ip(number)} is in none of the network's address ranges"
            return None

        reason = await self._store.read(fn)
        return IpAvailability(available=reason is None, reason=reason)


def _check_neighbours(tx: Tx, network: L3Network, new: Range) -> None:
    names = {row.uuid: row.name for row in tx.find(L3Network, l2_network_uuid=network.l2_network_uuid)}
    rows = tx.find(IpRange, l3_network_uuid=list(names))
    check_neighbours(
        new,
        [_range(row) for row in rows if row.l3_network_uuid == network.uuid],
        [(f"the range {row.name} of the L3 network {names[row.l3_network_uuid]}", _range(row)) for row in rows],
    )


def _range(row: IpRange) -> Range:
    return Range(
        start=row.start_long, end=row.end_long, gateway=to_long(row.gateway), network=IPv4Network(row.network_cidr)
    )


def _row(tx: Tx, uuid: str, network: L3Network, name: str, description: str | None, new: Range) -> IpRange:
    return IpRange(
        uuid=uuid,
        l3_network_uuid=network.uuid,
        name=name,
        description=description,
        start_ip=to_ip(new.start),
        end_ip=to_ip(new.end),
        netmask=str(new.network.netmask),
        gateway=to_ip(new.gateway),
        network_cidr=str(new.network),
        prefix_len=new.network.prefixlen,
        start_long=new.start,
        end_long=new.end,
        next_long=new.start,
        create_date=tx.now,
        last_op_date=tx.now,
    )


def _free(range_: IpRange, number: int) -> FreeIp:
    return FreeIp(ip_range_uuid=range_.uuid, ip=to_ip(number), netmask=range_.netmask, gateway=range_.gateway)


def _capacity(tx: Tx, message: GetIpAddressCapacity) -> IpCapacity:
    by_resource: dict[str, list[IpRange]]
    if message.ip_range_uuids:
        kind = "IpRange"
        by_resource = {row.uuid: [row] for row in tx.find(IpRange, uuid=message.ip_range_uuids)}
    elif message.l3_network_uuids:
        kind = "L3Network"
        by_resource = _ranges_by(tx, tx.find(L3Network, uuid=message.l3_network_uuids), zones=False)
    else:
        kind = "Zone"
        networks = tx.find(L3Network) if message.all else tx.find(L3Network, zone_uuid=message.zone_uuids)
        by_resource = _ranges_by(tx, networks, zones=True)
    data = [_data(tx, uuid, ranges) for uuid, ranges in by_resource.items()]
    total = sum(one.total_capacity for one in data)
    used = sum(one.used_ip_address_number for one in data)
    return IpCapacity(
        total_capacity=total,
        available_capacity=total - used,
        used_ip_address_number=used,
        ipv4_total_capacity=total,
        ipv4_available_capacity=total - used,
        ipv4_used_ip_address_number=used,
        resource_type=kind,
        capacity_data=data,
    )


def _ranges_by(tx: Tx, networks: Sequence[L3Network], *, zones: bool) -> dict[str, list[IpRange]]:
    resources = {row.uuid: row.zone_uuid if zones else row.uuid for row in networks}
    found: dict[str, list[IpRange]] = {resource: [] for resource in resources.values()}
    for range_ in tx.find(IpRange, l3_network_uuid=list(resources)):
        found[resources[range_.l3_network_uuid]].append(range_)
    return found


def _data(tx: Tx, resource: str, ranges: Sequence[IpRange]) -> IpCapacityData:
    total = sum(size(range_) for range_ in ranges)
    used = sum(used_in(tx, range_) for range_ in ranges)
    return IpCapacityData(
        resource_uuid=resource,
        total_capacity=total,
        available_capacity=total - used,
        used_ip_address_number=used,
    )
