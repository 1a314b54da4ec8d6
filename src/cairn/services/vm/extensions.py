"""The extension points of the VM service, and the records that they are given."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from cairn.services.ids import HostId, L3NetworkId, VmId


class NicSpec(Struct, frozen=True, kw_only=True):
    """A VM's network card, as network services and hypervisors need it."""

    uuid: str
    mac: str
    ip: str
    netmask: str
    gateway: str
    l3_network_uuid: L3NetworkId
    device_id: int
    internal_name: str  #: of the tap on the host, ``vnic12.0``
    is_default: bool


class VmNetworks(Struct, frozen=True, kw_only=True):
    """A VM on its host, as network services need it: its network cards, and what they serve to the guest."""

    uuid: VmId
    host_uuid: HostId
    hostname: str
    nics: list[NicSpec]
    bridges: dict[str, str] = {}  #: L3 network uuid -> bridge on the host; told when the VM starts there
    user_data: bytes | None = None
    ssh_keys: list[str] = []


class VmNetworkService(Protocol):
    """A provider of network services (DHCP, metadata, security groups, ...) for VMs."""

    async def apply(self, vm: VmNetworks) -> None:
        """Serve the VM. Called before it starts on its host. Safe to repeat."""

    async def release(self, vm: VmNetworks) -> None:
        """Stop serving the VM. Called after it left its host, or did not come to it. Safe to repeat; nothing there is success."""
