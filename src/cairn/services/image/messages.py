"""What can be asked of images."""

from __future__ import annotations

from msgspec import Struct


class ImageSpec(Struct, frozen=True, kw_only=True):
    """An image, as VMs and storage need it."""

    uuid: str
    name: str
    format: str  #: ``qcow2`` or ``raw``
    platform: str  #: ``Linux``, ``Windows``, ...
    architecture: str
    guest_os_type: str | None
    size_bytes: int  #: virtual size: a root volume is at least this large
    actual_size_bytes: int  #: what its file takes
    sha256: str
    backup_storage_uuid: str
    url: str  #: where hosts fetch it
