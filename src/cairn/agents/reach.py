"""Where a download may connect to.

A stranger who may have a machine of the cloud fetch a URL can make it speak to whatever that machine reaches: services
on its own loopback, the metadata server of the cloud that it may itself run in. What counts is the address that is
really connected to, at each hop of a redirect, and not the name in the URL, which may mean something else a moment
later. So an address is judged when the socket to it is made, and no other look-up comes after that.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from typing import Final

from cairn.agents.errors import AgentError
from cairn.agents.protocol import codes

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_DISCARD = 9  #: any port will do to ask for the way to an address; nothing is sent


class Reach:
    """Judges addresses.

    Args:
        denied: networks that may not be connected to, as ``169.254.0.0/16``. The machine's own addresses never may.
        allowed: networks that may, even if they are denied or the machine's own.
    """

    def __init__(self, denied: Sequence[str], allowed: Sequence[str] = ()) -> None:
        self._denied = [_network(text) for text in denied]
        self._allowed = [_network(text) for text in allowed]

    def why_not(self, address: str) -> str | None:
        """Why the address may not be connected to, as the end of a sentence; None: it may."""
        found = _plain(ipaddress.ip_address(address.partition("%")[0]))
        if any(found in network for network in self._allowed):
            return None
        network = next((network for network in self._denied if found in network), None)
        if network is not None:
            return f"{found} is in {network}, where nothing is fetched from"
        if _is_own(found):
            return f"{found} is the backup server itself"
        return None


def _network(text: str) -> _Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise AgentError(codes.BAD_REQUEST, f"networks: found {text!r}: {error}.") from None


def _plain(address: _Address) -> _Address:
    """The IPv4 address that is meant by an IPv6 address with one in it."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _is_own(address: _Address) -> bool:
    """Whether the machine would speak to itself: it then has the same address on both sides."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(address), _DISCARD))
        except OSError:
            return False  # there is no way to it, so connecting fails by itself
        return str(probe.getsockname()[0]) == str(address)
