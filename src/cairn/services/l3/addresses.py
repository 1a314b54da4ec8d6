"""Addresses: given out to VMs, and taken back.

An address of a range is in exactly one of three places: behind the range's cursor and never given out by turn, in
`ReleasedIp`, or in `UsedIp`. A claim takes the cursor's address and moves it on; once the cursor is at the end, it takes
the address that was released longest ago. So an address is used again as late as possible, and a claim costs the same
few statements on keys whether the range has ten addresses or a million, full or empty.

Addresses that are asked for by name may lie before the cursor (then they are in `ReleasedIp`) or behind it; these the
cursor steps over when it comes there, once.

All of it happens inside the caller's transaction. Claims and releases lock the rows of the network's ranges before anything
else, so what is read of cursor and addresses stays true; and ``used_ip`` is unique by network and address: two claims never
get the same one. Who deletes a network or a range, or has to know that no VM uses it, locks its ranges, too (`hold_ranges`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import bindparam, func, select

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.health import Audit
from cairn.kernel.ids import IdSource
from cairn.kernel.resource import EnabledState, existing, taken
from cairn.kernel.store.record import table_of
from cairn.kernel.store.remembered import Remembered
from cairn.kernel.store.store import Tx
from cairn.services.ids import L3NetworkId
from cairn.services.l3.messages import ClaimedAddress
from cairn.services.l3.model import IpRange, L3Network, ReleasedIp, UsedIp
from cairn.services.l3.subnet import address, to_ip

_USED = table_of(UsedIp)
_COUNT_USED = select(func.count()).where(_USED.c.ip_range_uuid == bindparam("range"))
_COUNT_VMS = select(func.count(func.distinct(_USED.c.used_for))).where(
    _USED.c.l3_network_uuid == bindparam("network"), _USED.c.used_for.is_not(None)
)
_COUNT_VMS_IN_RANGE = select(func.count(func.distinct(_USED.c.used_for))).where(
    _USED.c.ip_range_uuid == bindparam("range"), _USED.c.used_for.is_not(None)
)
_USED_FROM = (
    select(_USED.c.ip_in_long)
    .where(_USED.c.l3_network_uuid == bindparam("network"), _USED.c.ip_in_long >= bindparam("start"))
    .where(_USED.c.ip_in_long <= bindparam("end"))
    .order_by(_USED.c.ip_in_long)
    .limit(bindparam("most"))
)


_RELEASED, _RANGE = table_of(ReleasedIp), table_of(IpRange)
_TWICE = select(_RELEASED.c.ip_range_uuid, _USED.c.ip).join_from(
    _RELEASED,
    _USED,
    (_USED.c.ip_range_uuid == _RELEASED.c.ip_range_uuid) & (_USED.c.ip_in_long == _RELEASED.c.ip_in_long),
)
_GIVEN = (
    select(_USED.c.ip_range_uuid, func.count().label("number"))
    .join_from(_USED, _RANGE, _RANGE.c.uuid == _USED.c.ip_range_uuid)
    .where(_USED.c.ip_in_long < _RANGE.c.next_long)
    .group_by(_USED.c.ip_range_uuid)
    .subquery()
)
_BACK = select(_RELEASED.c.ip_range_uuid, func.count().label("number")).group_by(_RELEASED.c.ip_range_uuid).subquery()
_LOST = _RANGE.c.next_long - _RANGE.c.start_long - func.coalesce(_GIVEN.c.number, 0) - func.coalesce(_BACK.c.number, 0)
_RANGES_OFF = (
    select(_RANGE.c.name, _RANGE.c.uuid, _LOST)
    .select_from(
        _RANGE.outerjoin(_GIVEN, _GIVEN.c.ip_range_uuid == _RANGE.c.uuid).outerjoin(
            _BACK, _BACK.c.ip_range_uuid == _RANGE.c.uuid
        )
    )
    .where(_LOST != 0)
    .order_by(_RANGE.c.uuid)
)


def _wrong(tx: Tx) -> Iterator[str]:
    """Addresses that are in two places or in none."""
    for range_, ip in tx.rows(_TWICE):
        yield f"The address {ip} of the range {range_} is taken, and is in the list of those that were given back."
    for name, uuid, number in tx.rows(_RANGES_OFF):
        yield f"The address range {name} ({uuid}) is off by {number}: addresses before its cursor are neither taken nor free."


BOOKS = Audit(
    "addresses",
    "VMs are not hurt by it, but an address may be given out twice, or never again. Replace the range when its VMs are gone.",
    _wrong,
)


class Addresses:
    """Gives addresses out and takes them back, inside the caller's transaction."""

    def __init__(self, ids: IdSource) -> None:
        self._ids = ids
        self._networks: Remembered[L3NetworkId, L3Network | None] = Remembered(_network, (L3Network,))

    def claim(
        self, tx: Tx, l3_network: L3NetworkId, *, used_for: str | None, required_ip: str | None = None
    ) -> ClaimedAddress:
        """Take an address; see `L3Networks.claim`."""
        network = self._networks.get(tx, l3_network) or existing(tx, L3Network, l3_network, "l3NetworkUuids")
        if network.state is EnabledState.DISABLED and used_for is not None:
            raise CairnError(
                "l3.disabled",
                f"The L3 network {network.name} is disabled and gives no addresses to new network cards. Enable it "
                "(ChangeL3NetworkState), or take another network.",
                kind=ErrorKind.CONFLICT,
            )
        if network.system and used_for is not None:
            raise CairnError(
                "l3.system",
                f"The L3 network {network.name} is for the cloud's own use, and VMs get no network cards in it. Take another "
                "network, or make it one for VMs (UpdateL3Network with system=false).",
                kind=ErrorKind.CONFLICT,
                fields={"l3NetworkUuids": f"found {network.uuid}, a system network; one that is for VMs would fit"},
            )
        ranges = hold_ranges(tx, l3_network)
        if required_ip is not None:
            return self._named(tx, network, ranges, address("staticIp", required_ip), used_for)
        for range_ in ranges:
            claimed = self._at_cursor(tx, range_, used_for)
            if claimed is not None:
                return claimed
        for range_ in ranges:
            for oldest in tx.find(ReleasedIp, ip_range_uuid=range_.uuid, order_by="id", limit=1):
                tx.delete(ReleasedIp, oldest.id)
                return self._use(tx, range_, oldest.ip_in_long, used_for)
        existing(
            tx, L3Network, l3_network, "l3NetworkUuids"
        )  # what is remembered of it may be gone by now, with its ranges
        raise _exhausted(network, ranges)

    def release(self, tx: Tx, used_ips: Sequence[UsedIp]) -> None:
        """Give addresses back. Safe to repeat."""
        ranges: dict[str, IpRange | None] = {}
        for used in used_ips:
            if used.ip_range_uuid not in ranges:
                ranges[used.ip_range_uuid] = tx.get(IpRange, used.ip_range_uuid, lock=True)
            range_ = ranges[used.ip_range_uuid]
            if tx.delete(UsedIp, used.uuid) and range_ is not None and used.ip_in_long < range_.next_long:
                tx.insert(ReleasedIp(ip_range_uuid=used.ip_range_uuid, ip_in_long=used.ip_in_long))

    def release_of(self, tx: Tx, used_for: str) -> None:
        """Give back all that a VM has. Safe to repeat."""
        self.release(tx, tx.find(UsedIp, used_for=used_for))

    def _named(
        self, tx: Tx, network: L3Network, ranges: Sequence[IpRange], number: int, used_for: str | None
    ) -> ClaimedAddress:
        range_ = range_of(ranges, number)
        if range_ is None:
            raise CairnError(
                "l3.address-outside",
                f"staticIp: {to_ip(number)} is in no address range of the L3 network {network.name}. {_ranges(ranges)} "
                "Take an address of one of them.",
                kind=ErrorKind.INVALID,
                fields={"systemTags": f"found {to_ip(number)}; an address of the network's ranges would fit"},
            )
        for user in tx.find(UsedIp, l3_network_uuid=network.uuid, ip_in_long=number):
            raise CairnError(
                "l3.address-taken",
                f"staticIp: {to_ip(number)} of the L3 network {network.name} is taken. Take another "
                "(GetFreeIp), or leave it out and a free one is chosen.",
                kind=ErrorKind.CONFLICT,
                fields={"systemTags": f"found {to_ip(number)}, which is taken; a free address would fit"},
                operator=f"It has {holder(user)}.",
            )
        if number < range_.next_long:
            tx.delete_where(ReleasedIp, ip_range_uuid=range_.uuid, ip_in_long=number)
        return self._use(tx, range_, number, used_for)

    def _at_cursor(self, tx: Tx, range_: IpRange, used_for: str | None) -> ClaimedAddress | None:
        """Take the first address from the cursor on, and move the cursor behind it; None: the cursor is at the end.

        The database refuses one that was taken by name, so nothing is looked up for all the others.
        """
        if range_.next_long > range_.end_long:
            return None
        claimed: ClaimedAddress | None = None
        number = range_.next_long
        while claimed is None and number <= range_.end_long:
            try:
                claimed = self._use(tx, range_, number, used_for)
            except CairnError as error:
                if error.code != "store.duplicate":
                    raise
            number += 1
        tx.update(IpRange, range_.uuid, next_long=number)
        return claimed

    def _use(self, tx: Tx, range_: IpRange, number: int, used_for: str | None) -> ClaimedAddress:
        used = taken(
            UsedIp,
            range_,
            uuid=self._ids.new(),
            ip_range_uuid=range_.uuid,
            ip=to_ip(number),
            ip_in_long=number,
            used_for=used_for,
            create_date=tx.now,
        )
        tx.insert(used)
        return taken(ClaimedAddress, used, used_ip_uuid=used.uuid)


def _network(tx: Tx, l3_network: L3NetworkId) -> L3Network | None:
    return tx.get(L3Network, l3_network)


def hold_ranges(tx: Tx, l3_network: L3NetworkId) -> list[IpRange]:
    """The ranges of a network, by their addresses. Until the end of the transaction nobody else takes or returns one of them."""
    return tx.find(IpRange, l3_network_uuid=l3_network, order_by="start_long", lock=True)


def range_of(ranges: Sequence[IpRange], number: int) -> IpRange | None:
    """The range that has an address."""
    return next((range_ for range_ in ranges if range_.start_long <= number <= range_.end_long), None)


def holder(used: UsedIp) -> str:
    """The owner of an address, in words."""
    return f"the VM {used.used_for}" if used.used_for else "the cloud itself (DHCP server)"


def size(range_: IpRange) -> int:
    """How many addresses a range has."""
    return range_.end_long - range_.start_long + 1


def used_in(tx: Tx, range_: IpRange) -> int:
    """How many addresses of a range are taken."""
    return _number(tx.rows(_COUNT_USED, {"range": range_.uuid}))


def vms_in(tx: Tx, l3_network: L3NetworkId) -> int:
    """How many VMs have an address in a network."""
    return _number(tx.rows(_COUNT_VMS, {"network": l3_network}))


def vms_in_range(tx: Tx, ip_range: str) -> int:
    """How many VMs have an address of a range."""
    return _number(tx.rows(_COUNT_VMS_IN_RANGE, {"range": ip_range}))


def free_from(tx: Tx, range_: IpRange, start: int, limit: int) -> list[int]:
    """At most `limit` free addresses of a range from `start` on, lowest first. Reads only as far as it must."""
    free: list[int] = []
    number = max(start, range_.start_long)
    while len(free) < limit and number <= range_.end_long:
        most = limit - len(free)
        last = min(number + 2 * most, range_.end_long)
        values = {"network": range_.l3_network_uuid, "start": number, "end": last, "most": 2 * most + 1}
        taken = {row[0] for row in tx.rows(_USED_FROM, values)}
        free += [candidate for candidate in range(number, last + 1) if candidate not in taken][:most]
        number = last + 1
    return free


def _number(rows: list[tuple[object, ...]]) -> int:
    value = rows[0][0]
    assert isinstance(value, int)
    return value


def _ranges(ranges: Sequence[IpRange]) -> str:
    if not ranges:
        return "It has no address range yet."
    listed = ", ".join(f"{range_.name} ({range_.start_ip} to {range_.end_ip})" for range_ in ranges[:5])
    return f"Its ranges: {listed}{', ...' if len(ranges) > 5 else ''}."


def _exhausted(network: L3Network, ranges: Sequence[IpRange]) -> CairnError:
    total = sum(size(range_) for range_ in ranges)
    do = (
        "Add another address range of its subnet (AddIpRange), delete VMs, or take another network."
        if ranges
        else "Add one (AddIpRange or AddIpRangeByNetworkCidr)."
    )
    return CairnError(
        "l3.no-free-address",
        f"The L3 network {network.name} has no free address: {total} of {total} are used. {_ranges(ranges)} {do}",
        kind=ErrorKind.EXHAUSTED,
        details={"l3Network": network.uuid, "total": total, "used": total},
    )
