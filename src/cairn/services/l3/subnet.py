"""Arithmetic of IPv4 subnets and address ranges, and the rules that a range must keep. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError
from socket import inet_ntoa

from msgspec import Struct

from cairn.kernel.error import CairnError, invalid

_LONGEST_PREFIX = 30  # a shorter subnet has no room for a gateway and a VM
_SHORTEST_PREFIX = 8
_NOT_FOR_VMS = {
    "this network (RFC 1122)": IPv4Network("0.0.0.0/8"),
    "loopback": IPv4Network("127.0.0.0/8"),
    "link-local": IPv4Network("169.254.0.0/16"),
    "multicast": IPv4Network("224.0.0.0/4"),
    "reserved": IPv4Network("240.0.0.0/4"),
}


class Range(Struct, frozen=True, kw_only=True):
    """Addresses of one subnet, both ends included."""

    start: int
    end: int
    gateway: int
    network: IPv4Network

    def overlaps(self, start: int, end: int) -> bool:
        """Whether it has an address from `start` to `end`."""
        return self.start <= end and start <= self.end


def to_long(ip: str) -> int:
    """An address that is known to be right, as a number."""
    return int(IPv4Address(ip))


def to_ip(number: int) -> str:
    """A number as an address."""
    return inet_ntoa(number.to_bytes(4, "big"))


def address(field: str, text: str) -> int:
    """The number of an address as people write it (``l3.bad-address``)."""
    try:
        return int(IPv4Address(text))
    except AddressValueError:
        raise invalid("l3.bad-address", field, text, "an IPv4 address like 10.0.0.1 would fit") from None


def by_ends(start_ip: str, end_ip: str, netmask: str, gateway: str | None) -> Range:
    """The range from `start_ip` to `end_ip`.

    Raises:
        CairnError: ``l3.bad-address``, ``ip-range.invalid``: the field, what was found and what would fit.
    """
    start, end = address("startIp", start_ip), address("endIp", end_ip)
    network = _subnet_of(start, netmask)
    first, last = _hosts(network)
    fits = f"{to_ip(first)} to {to_ip(last)} would fit (network and broadcast address excluded)"
    for field, number in (("startIp", start), ("endIp", end)):
        if not first <= number <= last:
            raise invalid("ip-range.invalid", field, to_ip(number), fits, f"The subnet is {network}.")
    if start > end:
        raise invalid("ip-range.invalid", "endIp", end_ip, f"an address not below startIp ({start_ip}) would fit")
    return Range(start=start, end=end, gateway=_gateway(gateway, network, start, end), network=network)


def by_cidr(cidr: str, gateway: str | None) -> list[Range]:
    """All addresses of a subnet but its gateway: one range, or two with the gateway between them.

    Raises:
        CairnError: ``ip-range.invalid``, ``l3.bad-address``.
    """
    try:
        network = IPv4Network(cidr)
    except (AddressValueError, NetmaskValueError, ValueError) as error:
        raise invalid(
            "ip-range.invalid", "networkCidr", cidr, f"a subnet like 10.0.0.0/24 would fit ({error})"
        ) from None
    _check_usable("networkCidr", cidr, network)
    first, last = _hosts(network)
    router = first if gateway is None else _in_subnet(gateway, network)
    ends = [(first, router - 1), (router + 1, last)]
    return [Range(start=start, end=end, gateway=router, network=network) for start, end in ends if start <= end]


def check_neighbours(new: Range, same_network: Sequence[Range], others: Sequence[tuple[str, Range]]) -> None:
    """Refuse a range that does not go with those that are there.

    Args:
        same_network: ranges of the same L3 network.
        others: ranges of all networks of the same L2 network, each with what people call it.

    Raises:
        CairnError: ``ip-range.another-subnet``, ``ip-range.overlaps``.
    """
    for there in same_network:
        if (there.network, there.gateway) != (new.network, new.gateway):
            raise invalid(
                "ip-range.another-subnet",
                "gateway" if there.network == new.network else "netmask",
                f"{new.network} with gateway {to_ip(new.gateway)}",
                f"the network's other ranges are of {there.network} with gateway {to_ip(there.gateway)}, and so must this be",
                "Make another L3 network for another subnet.",
            )
    for name, there in others:
        if new.overlaps(there.start, there.end):
            raise invalid(
                "ip-range.overlaps",
                "startIp",
                f"{to_ip(new.start)} to {to_ip(new.end)}",
                f"addresses outside of {name} ({to_ip(there.start)} to {to_ip(there.end)}) on the same L2 network fit",
            )
        if new.overlaps(there.gateway, there.gateway) or there.overlaps(new.gateway, new.gateway):
            raise invalid(
                "ip-range.overlaps",
                "gateway",
                to_ip(new.gateway),
                f"{name} on the same L2 network has the gateway {to_ip(there.gateway)}; no VM of either network may get "
                "the address of a gateway",
            )


def _subnet_of(start: int, netmask: str) -> IPv4Network:
    try:
        prefix = _prefix(address("netmask", netmask))
    except ValueError:
        raise invalid("ip-range.invalid", "netmask", netmask, "a netmask like 255.255.255.0 would fit") from None
    network = IPv4Network((start, prefix), strict=False)
    _check_usable("netmask", netmask, network)
    return network


def _prefix(mask: int) -> int:
    inverse = mask ^ 0xFFFF_FFFF
    if inverse & (inverse + 1):
        raise ValueError("ones after zeros")
    return 32 - inverse.bit_length()


def _check_usable(field: str, found: str, network: IPv4Network) -> None:
    if not _SHORTEST_PREFIX <= network.prefixlen <= _LONGEST_PREFIX:
        raise invalid(
            "ip-range.invalid", field, found, f"a prefix of {_SHORTEST_PREFIX} to {_LONGEST_PREFIX} bits would fit"
        )
    for what, kept in _NOT_FOR_VMS.items():
        if network.overlaps(kept):
            raise invalid(
                "ip-range.invalid", field, str(network), f"{kept} is {what}; a subnet outside of it would fit"
            )


def _hosts(network: IPv4Network) -> tuple[int, int]:
    return int(network.network_address) + 1, int(network.broadcast_address) - 1


def _in_subnet(gateway: str, network: IPv4Network) -> int:
    number = address("gateway", gateway)
    first, last = _hosts(network)
    if not first <= number <= last:
        raise invalid(
            "ip-range.invalid", "gateway", gateway, f"an address of {to_ip(first)} to {to_ip(last)} would fit"
        )
    return number


def _gateway(gateway: str | None, network: IPv4Network, start: int, end: int) -> int:
    number = _hosts(network)[0] if gateway is None else _in_subnet(gateway, network)
    if start <= number <= end:
        raise _gateway_inside(number, gateway, start, end)
    return number


def _gateway_inside(number: int, gateway: str | None, start: int, end: int) -> CairnError:
    found = gateway if gateway is not None else f"none, so {to_ip(number)} is taken"
    return invalid(
        "ip-range.invalid",
        "gateway",
        found,
        f"an address of the subnet outside of {to_ip(start)} to {to_ip(end)} would fit, as a VM must not get it",
    )
