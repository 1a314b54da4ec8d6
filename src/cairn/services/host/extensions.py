"""The extension points of the host service, and the records that they are given."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from cairn.agents.protocol.host import HostFacts
from cairn.agents.protocol.wire import Space
from cairn.kernel.bus.message import Command
from cairn.kernel.machine.kind import MachineDriver
from cairn.kernel.store.store import Tx
from cairn.services.ids import ClusterId, HostId, ImageId, L3NetworkId, PrimaryStorageId, VmId, VolumeId, ZoneId


class Hypervisor(MachineDriver, Protocol):
    """A kind of host (``KVM``, ``Simulator``), named by its hypervisor type."""


class HostNeed(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The needs of a VM that its host must meet."""

    vm_uuid: VmId
    cpu_num: int
    memory_size: int  #: bytes
    starts: bool = True  #: whether it is to run on the host; False: only its disk is made there
    disk_bytes: int  #: of the root volume, plus what the image's cache will take where it is missing
    image_uuid: ImageId
    l3_network_uuids: list[L3NetworkId]
    architecture: str = "x86_64"
    zone_uuid: ZoneId | None = None
    cluster_uuid: ClusterId | None = None
    host_uuid: HostId | None = None
    primary_storage_uuid: PrimaryStorageId | None = None  #: that the root volume is on, or is to be on
    root_volume_uuid: VolumeId | None = None  #: of a VM that has its disk already: it runs where that is
    tags: list[str] = []  #: system tags of the VM; there when a filter is asked


class Candidate(Struct, frozen=True, kw_only=True):
    """A host that may take a VM."""

    host_uuid: HostId
    cluster_uuid: ClusterId
    zone_uuid: ZoneId
    name: str
    hypervisor_type: str = ""


class Places(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The only hosts, and the only clusters, that may take a VM; None: no matter which."""

    hosts: frozenset[HostId] | None = None
    clusters: frozenset[ClusterId] | None = None


ANYWHERE = Places()


class HostFilter(Protocol):
    """A rule on which hosts may take a VM. Called inside the transaction that claims the host."""

    def refuse(self, tx: Tx, need: HostNeed, candidates: Sequence[Candidate]) -> dict[HostId, str]:
        """Find the hosts that do not fit: host uuid -> why, as the end of "it …" (``has no bridge for network flat``).

        Called with some candidates at a time, 500 at most, never with all hosts. Only administrators read the reasons.
        """

    def narrow(self, tx: Tx, need: HostNeed) -> Places:
        """Tell where the hosts are that the rule allows, if it knows without looking at hosts.

        Called once a claim, and only when the first sixty candidates were all refused. What it leaves out is not looked at;
        what it allows, `refuse` is asked about.
        """
        return ANYWHERE


class HostConnected(Protocol):
    """A listener to a host's connecting, called after the agent answered and before VMs may be placed.

    It may refuse by raising. What is one of many (a network, a debt) does not: it goes by `HostSyncs`.
    """

    async def host_connecting(self, host: HostId, facts: HostFacts) -> None:
        """Prepare the host: folders, bridges, DHCP. Safe to repeat: it runs at every (re)connect."""


class HostRemoval(Protocol):
    """A user of hosts that may refuse a host's removal, and tidies up its own rows. Called inside transactions."""

    def why_not_remove(self, tx: Tx, host: HostId) -> str | None:
        """Say what still needs the host (``3 VMs have their disks on it``); None: nothing."""

    def users(self, tx: Tx, host: HostId) -> list[Sequence[Command[object]]]:
        """The calls that remove what is on the host, for ``deleteMode=Enforcing``: for each thing those that remove it, in order.

        They are made whether the host can be reached or not, and several things' at a time.
        """
        return []

    async def host_leaving(self, host: HostId) -> list[str]:
        """The host, which nothing needs any more, is about to leave the cloud: remove what is kept there for later.

        Returns what could not be removed; that is no error, and `host_removed` may have it owed. Safe to repeat.
        """
        return []

    def host_removed(self, tx: Tx, host: HostId) -> None:
        """The host's row goes now: remove what points to it. Safe to repeat."""


class HostMeasured(Protocol):
    """A listener to how full hosts' disks are, which their pings say."""

    async def host_measured(self, host: HostId, folders: dict[str, Space]) -> None:
        """Take note of the space under the host's storage folders, by their paths. Called at every ping; a folder that is
        missing was not measured.
        """


class HostPinged(Protocol):
    """A listener to what hosts' pings say of their VMs."""

    async def host_pinged(self, host: HostId, vms: dict[str, str], asked_at: datetime) -> None:
        """Take note of a ping. `vms`: VM uuid -> power state, all that the host had at some moment after `asked_at`."""
