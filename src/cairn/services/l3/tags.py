"""The system tags that the L3 service understands."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import AddressValueError, IPv4Address

from cairn.kernel.ids import is_uuid
from cairn.kernel.tag import TagDefinition


def _check(values: dict[str, str]) -> str | None:
    if not is_uuid(values["l3NetworkUuid"]):
        return "staticIp::<uuid of an L3 network>::<IPv4 address> would fit"
    try:
        IPv4Address(values["staticIp"])
    except AddressValueError:
        return "an IPv4 address like 10.0.0.5 would fit at its end"
    return None


STATIC_IP = TagDefinition(
    "staticIp::{l3NetworkUuid}::{staticIp}",
    "VmInstance",
    doc="the address that the VM's network card in that L3 network gets, when it is created or started next",
    check=_check,
)


def static_ips(tags: Sequence[str]) -> dict[str, str]:
    """L3 network -> the address that tags ask for there."""
    found = (STATIC_IP.parse(tag) for tag in tags)
    return {values["l3NetworkUuid"]: values["staticIp"] for values in found if values is not None}
