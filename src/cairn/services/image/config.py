"""Settings of the image service: all limits of images and of fetching them."""

from __future__ import annotations

import ipaddress

from cairn.agents.protocol.urls import DENIED_NETWORKS
from cairn.kernel.config import Setting
from cairn.kernel.limits import call_limit


def networks(text: str) -> tuple[str, ...]:
    """The networks that a setting names, separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _check_networks(text: str) -> str | None:
    for network in networks(text):
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            return f"{error}; networks separated by commas, as 10.0.0.0/8,fd00::/8, would fit"
    return None


DOWNLOAD_TIMEOUT = Setting(
    "image",
    "download.timeout",
    10_800,
    unit="s",
    minimum=1,
    maximum=604_800,
    doc="how long a backup storage may take to fetch an image",
)
MAX_SIZE = Setting(
    "image",
    "maxSize",
    1 << 40,
    unit="bytes",
    minimum=1 << 20,
    maximum=1 << 50,
    doc="the largest file that is fetched as an image",
)
FILE_TIMEOUT = Setting(
    "image",
    "remove.timeout",
    300,
    unit="s",
    minimum=1,
    maximum=86_400,
    doc="how long the removal of an image's file may take",
)
DENIED = Setting(
    "image",
    "download.deniedNetworks",
    ",".join(DENIED_NETWORKS),
    check=_check_networks,
    doc="networks, separated by commas, that no image is fetched from, not even by a redirect; a backup server never "
    "fetches from itself either",
)
ALLOWED = Setting(
    "image",
    "download.allowedNetworks",
    "",
    check=_check_networks,
    doc="networks, separated by commas, that images are fetched from even if they are denied or the backup server itself",
)
EXPUNGE_AFTER = Setting(
    "image",
    "expunge.after",
    604_800,
    unit="s",
    minimum=0,
    maximum=315_360_000,
    doc="how long after its deletion an image is expunged; 0: never by itself",
)
ADD = call_limit("image", "add", "images that are fetched", in_all=40, of_account=4)
