"""Names of VMs, as name servers on hosts have them, and digests by which two sets of them are compared.

A network may have tens of thousands of names, and each of its hosts has all of them. So where it is not known what a host has,
it is not told everything: names are put into buckets by their addresses, the host says a digest of each, and is told those that
differ.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from zlib import crc32

#: most buckets that are asked for
MOST_BUCKETS = 1024
_IN_A_BUCKET = 40
_DIGITS = 12
_NOT_HOSTNAME = re.compile(r"[^a-z0-9-]+")


def host_name(name: str, ip: str) -> str:
    """A host name as in RFC 1123, made of any text; one of the address where nothing of the text can be used."""
    usable = _NOT_HOSTNAME.sub("-", name.lower()).strip("-")[:63].strip("-")
    return usable or f"ip-{ip.replace('.', '-')}"


def buckets_for(names: int) -> int:
    """How many buckets a set of so many names is compared in."""
    return min(MOST_BUCKETS, 1 + names // _IN_A_BUCKET)


def bucket_of(ip: str, buckets: int) -> int:
    """The bucket that the name of an address is in."""
    return crc32(ip.encode()) % buckets


def digests(names: Mapping[str, str], buckets: int) -> list[str]:
    """A digest of each bucket of `names` (address -> name); empty for one without names."""
    lines: list[list[str]] = [[] for _ in range(buckets)]
    for ip, name in names.items():
        lines[bucket_of(ip, buckets)].append(f"{ip} {host_name(name, ip)}\n")
    return [hashlib.sha256("".join(sorted(some)).encode()).hexdigest()[:_DIGITS] if some else "" for some in lines]
