"""Simulated downloads: their URL alone decides what they bring, so that every run sees the same.

The last part of the URL's path decides: ``not-an-image…`` is an HTML page, ``backing…`` an image with a backing file,
``missing…`` a 404; a name that ends in ``.raw`` is a raw image, everything else a qcow2. Hosts below ``.invalid`` do
not exist, and nothing listens on port 9. ``?virtual=BYTES&size=BYTES`` sets the sizes.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from urllib.parse import parse_qs, unquote, urlsplit

from msgspec import Struct

from cairn.agents.protocol import codes
from cairn.agents.protocol.urls import shown_url
from cairn.simulator.refusal import Refused

_VIRTUAL_SIZE_BYTES = 1 << 30
_ACTUAL_SIZE_BYTES = 13 << 20
_DISCARD = 9  #: a port that nothing listens on


class Download(Struct, frozen=True, kw_only=True):
    """A file as it came from its URL."""

    format: str
    virtual_size_bytes: int
    actual_size_bytes: int
    sha256: str


def check_reach(url: str, denied: Sequence[str], allowed: Sequence[str]) -> None:
    """Refuse an address that images may not come from. Names are not looked up here, so they may."""
    split = urlsplit(url)
    try:
        address = ipaddress.ip_address((split.hostname or "") if split.scheme in ("http", "https") else "")
    except ValueError:
        return

    def is_in(networks: Sequence[str]) -> bool:
        return any(address in ipaddress.ip_network(network) for network in networks)

    if is_in(denied) and not is_in(allowed):
        raise Refused(
            codes.DOWNLOAD_REFUSED, f"{shown_url(url)} is not fetched: {address} is denied. Serve it elsewhere."
        )


def fetch(url: str, wanted_format: str, max_bytes: int) -> Download:
    """Download the image at `url`, if it is a good one of the wanted format."""
    split, shown = urlsplit(url), shown_url(url)
    if split.scheme not in ("http", "https", "file"):
        raise Refused(
            codes.DOWNLOAD_FAILED, f"{shown}: the scheme {split.scheme!r} is not fetched; http, https, file fit."
        )
    name = unquote(split.path).rpartition("/")[2]
    if (split.hostname or "").endswith(".invalid") or name.startswith("missing") or split.port == _DISCARD:
        raise Refused(codes.DOWNLOAD_FAILED, f"{shown} cannot be fetched: there is nothing there. Check the URL.")
    if split.scheme == "file" and split.path.startswith(("/etc/", "/proc/", "/dev/", "/root/")):
        raise Refused(
            codes.PATH_REFUSED, f"{shown}: this folder is not open for images. Put the image into one that is."
        )
    if name.startswith("not-an-image"):
        raise Refused(codes.NOT_AN_IMAGE, f"{shown} is not a disk image, it begins with '<html>'. Check the URL.")
    if name.startswith("backing"):
        raise Refused(codes.BACKING_FILE, f"{shown} refers to the backing file '/etc/shadow'. Flatten the image first.")
    found_format = "raw" if name.endswith(".raw") else "qcow2"
    if found_format != wanted_format:
        raise Refused(codes.WRONG_FORMAT, f"{shown} is {found_format}, not {wanted_format}. Name the right format.")
    size = _number(split.query, "size", _ACTUAL_SIZE_BYTES)
    if size > max_bytes:
        raise Refused(codes.IMAGE_TOO_LARGE, f"{shown} has {size} bytes; at most {max_bytes} are allowed.")
    return Download(
        format=found_format,
        virtual_size_bytes=_number(split.query, "virtual", _VIRTUAL_SIZE_BYTES),
        actual_size_bytes=size,
        sha256=hashlib.sha256(url.encode()).hexdigest(),
    )


def _number(query: str, key: str, default: int) -> int:
    values = parse_qs(query).get(key, [])
    return int(values[0]) if values and values[0].isdigit() else default
