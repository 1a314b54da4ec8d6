"""What plugins can do with VMs."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct


class NicSpec(Struct, frozen=True, kw_only=True):
    """A VM's network card, as network services and hypervisors need it."""

    uuid: str
    mac: str
    ip: str
    netmask: str
    gateway: str
    l3_network_uuid: str
    device_id: int
    internal_name: str  #: of the tap on the host, ``vnic12.0``
    is_default: bool


class VmNetworkSpec(Struct, frozen=True, kw_only=True):
    """A VM, as network services need it."""

    vm_uuid: str
    host_uuid: str
    hostname: str
    nics: list[NicSpec]
    bridges: dict[str, str]  #: L3 network uuid -> bridge on that host
    user_data: str | None = None
    ssh_keys: list[str] = []


class VmNetworkService(Protocol):
    """A provider of network services (DHCP, metadata, security groups, ...) for VMs."""

    async def apply(self, vm: VmNetworkSpec) -> None:
        """Before the VM starts on its host. Safe to repeat."""

    async def release(self, vm: VmNetworkSpec) -> None:
        """After the VM left its host, or did not come to it. Safe to repeat; nothing there is success."""
