"""Settings of the image service."""

from __future__ import annotations

from cairn.kernel.config import Setting
from cairn.kernel.limits import call_limit

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
ADD = call_limit("image", "add", "images that are fetched", in_all=40, of_account=4)
