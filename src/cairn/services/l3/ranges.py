"""Address ranges: adding and removing them, and how much of them is left."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network

from msgspec.structs import replace

from cairn.kernel.api import Reference
from cairn.kernel.bus.handlers import handles
from cairn.kernel.error import CairnError, ErrorKind, invalid
from cairn.kernel.ids import IdSource
from cairn.kernel.jobs import Jobs
from cairn.kernel.resource import enter, erase, existing, new
from cairn.kernel.store.store import Store, Tx
from cairn.kernel.tag import Tags
from cairn.services.l2.model import L2Network
from cairn.services.l3.addresses import free_from, range_of, size, used_in, vms_in_range
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
from cairn.services.l3.networks import NetworkChanges
from cairn.services.l3.providers import Providers
from cairn.services.l3.subnet import Range, address, check_neighbours, to_ip, to_long


class RangeService:
    """Answers the messages about address ranges."""

    def __init__(
        self,
        store: Store,
        jobs: Jobs,
        ids: IdSource,
        tags: Tags,
        providers: Providers,
        changes: NetworkChanges,
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._ids = ids
        self._tags = tags
        self._providers = providers
        self._changes = changes

    @handles(AddIpRange)
    async def add(self, message: AddIpRange) -> Reference:
        """Add one range, given by its first and last address."""
        return await self._add(message)

    @handles(AddIpRangeByNetworkCidr)
    async def add_by_cidr(self, message: AddIpRangeByNetworkCidr) -> Reference:
        """Add all addresses of a subnet: one range, or two with the gateway between them."""
        return await self._add(message)

    async def _add(self, message: AddIpRange | AddIpRangeByNetworkCidr) -> Reference:
        first, *others = message.ranges()

        def fn(tx: Tx) -> Reference:
            network = existing(tx, L3Network, message.l3_network_uuid, "l3NetworkUuid")
            answer = self._enter(tx, network, message, first)
            for other in others:
                self._enter(tx, network, replace(message, resource_uuid=self._ids.new()), other)
            self._providers.prepare(tx, network.uuid)
            self._changes.announce(tx, network.uuid)
            return answer

        return await self._jobs.commit(fn)

    def _enter(
        self, tx: Tx, network: L3Network, message: AddIpRange | AddIpRangeByNetworkCidr, range_: Range
    ) -> Reference:
        _check_neighbours(tx, network, range_)
        return enter(tx, self._tags, message, new(tx, IpRange, message, **_columns(range_)))

    @handles(DeleteIpRange)
    async def delete(self, message: DeleteIpRange) -> None:
        """Remove a range; one that is gone is success."""

        def fn(tx: Tx) -> None:
            range_ = tx.get(IpRange, message.uuid, lock=True)
            if range_ is None:
                return
            vms = vms_in_range(tx, range_.uuid)
            if vms:
                raise CairnError(
                    "ip-range.in-use",
                    f"The address range {range_.name} cannot be deleted: {vms} VMs have addresses of it. Delete them first.",
                    kind=ErrorKind.CONFLICT,
                    details={"ipRange": range_.uuid, "vms": vms},
                )
            erase(tx, IpRange, range_.uuid)
            self._providers.prepare(tx, range_.l3_network_uuid)  # what they had of the range is gone with it
            self._changes.announce(tx, range_.l3_network_uuid)

        await self._jobs.commit(fn)

    @handles(GetFreeIp)
    async def free(self, message: GetFreeIp) -> FreeIps:
        """Find free addresses, lowest first, in as many ranges as it takes."""
        start = 0 if message.start is None else address("start", message.start)

        def fn(tx: Tx) -> list[FreeIp]:
            found: list[FreeIp] = []
            for range_ in tx.find(IpRange, l3_network_uuid=message.l3_network_uuid, order_by="start_long"):
                if message.ip_range_uuid in (None, range_.uuid):
                    numbers = free_from(tx, range_, start, message.limit - len(found))
                    found += [_free(range_, number) for number in numbers]
            return found

        return FreeIps(inventories=await self._store.read(fn))

    @handles(GetIpAddressCapacity)
    async def capacity(self, message: GetIpAddressCapacity) -> IpCapacity:
        """Count the addresses that there are, and those that are left."""
        if not (message.all or message.zone_uuids or message.l3_network_uuids or message.ip_range_uuids):
            raise invalid(
                "l3.nothing-asked",
                "l3NetworkUuids",
                [],
                "uuids in one of zoneUuids, l3NetworkUuids and ipRangeUuids, or all=true, would fit",
            )
        return await self._store.read(lambda tx: _capacity(tx, message))

    @handles(CheckIpAvailability)
    async def check(self, message: CheckIpAvailability) -> IpAvailability:
        """Look for a VM, a gateway or a missing range that stands in the way."""
        number = address("ip", message.ip)

        def fn(tx: Tx) -> str | None:
            for used in tx.find(UsedIp, l3_network_uuid=message.l3_network_uuid, ip_in_long=number):
                return f"{used.ip} is taken"  # by whom is for administrators, who can query UsedIp
            ranges = tx.find(IpRange, l3_network_uuid=message.l3_network_uuid)
            if any(range_.gateway == to_ip(number) for range_ in ranges):
                return f"{to_ip(number)} is the network's gateway"
            if message.ip_range_check and range_of(ranges, number) is None:
                return f"{to_ip(number)} is in none of the network's address ranges"
            return None

        reason = await self._store.read(fn)
        return IpAvailability(available=reason is None, reason=reason)


def _check_neighbours(tx: Tx, network: L3Network, new: Range) -> None:
    tx.get(L2Network, network.l2_network_uuid, lock=True)  # ranges on one L2 network are added one after the other
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


def _columns(range_: Range) -> dict[str, object]:
    return {
        "start_ip": to_ip(range_.start),
        "end_ip": to_ip(range_.end),
        "netmask": str(range_.network.netmask),
        "gateway": to_ip(range_.gateway),
        "network_cidr": str(range_.network),
        "prefix_len": range_.network.prefixlen,
        "start_long": range_.start,
        "end_long": range_.end,
        "next_long": range_.start,
    }


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
