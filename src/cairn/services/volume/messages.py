"""What can be asked of volumes."""

from __future__ import annotations

from msgspec import Struct


class VolumeSpec(Struct, frozen=True, kw_only=True):
    """A volume, as VMs and storage need it."""

    uuid: str
    primary_storage_uuid: str
    install_path: str
    format: str
    size_bytes: int
    device_id: int
