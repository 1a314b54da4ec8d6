"""Messages about hosts."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Struct

from cairn.kernel.api import (
    ApiChange,
    ApiCreate,
    ApiDelete,
    ApiUpdate,
    Description,
    Http,
    Name,
    Refers,
    Uuid,
    action,
    delete,
)
from cairn.kernel.bus.message import Command, Event, Query
from cairn.kernel.limits import CONNECT, CallLimit
from cairn.kernel.machine.messages import Address, ApiReconnect, check_address
from cairn.services.host.machine import HostStateEvent
from cairn.services.ids import ClusterId, HostId, ZoneId


class AddHost(ApiCreate, frozen=True, kw_only=True):
    """The fields of every message that adds a host."""

    abstract: ClassVar[bool] = True
    entity: ClassVar[str | None] = "Host"
    limit: ClassVar[CallLimit | None] = CONNECT
    hypervisor_type: ClassVar[str]

    name: Name
    description: Description | None = None
    management_ip: Address  #: an IPv4 address or a name that no other host has
    cluster_uuid: Annotated[Uuid, Refers("Cluster")]

    def check(self) -> None:
        """Refuse an address that could be read in two ways (``machine.bad-address``)."""
        super().check()
        check_address("managementIp", self.management_ip)


class UpdateHost(ApiUpdate, frozen=True, kw_only=True, tag="host.update"):
    """Change a host's name, description or address. A new address is used at the next connect."""

    http: ClassVar[Http] = action("/hosts/{uuid}/actions", "updateHost")
    entity: ClassVar[str | None] = "Host"

    management_ip: Address | None = None

    def check(self) -> None:
        """Refuse an address that could be read in two ways (``machine.bad-address``)."""
        super().check()
        check_address("managementIp", self.management_ip)


class ChangeHostState(ApiChange, frozen=True, kw_only=True, tag="host.change-state"):
    """Enable a host, disable it (no new VMs), or take it into maintenance (no VMs at all)."""

    http: ClassVar[Http] = action("/hosts/{uuid}/actions", "changeHostState")
    entity: ClassVar[str | None] = "Host"
    takes_turn: ClassVar[bool] = False  # at once, also while it is being connected, which may take long

    state_event: HostStateEvent

    def frees(self) -> bool:
        """All but enabling ends something."""
        return self.state_event is not HostStateEvent.ENABLE


class ReconnectHost(ApiReconnect, frozen=True, kw_only=True, tag="host.reconnect"):
    """Connect to a host again. Safe to repeat; nothing changes on a host that is as it should be.

    An agent that answers and is the one that this node would put there is used as it is; nobody logs in to the host then. Another
    is replaced; if it cannot be (a changed password) and can be used, the host is connected with an `agentWarning`.

    Errors: ``host.machine-changed``, ``host.machine-taken``, ``host.agent-incompatible``, ``ssh.*``, ``deploy.*``.
    """

    http: ClassVar[Http] = action("/hosts/{uuid}/actions", "reconnectHost")
    entity: ClassVar[str | None] = "Host"
    limit: ClassVar[CallLimit | None] = CONNECT


class DeleteHost(ApiDelete, frozen=True, kw_only=True, tag="host.delete"):
    """Take a host out of the cloud; it must have no VMs.

    With ``deleteMode=Enforcing`` its VMs go with it: those that have their disks on it are expunged, others are stopped. A host
    that cannot be reached is forgotten without its agent being removed; what is left on the machine is a debt (`HostDebt`),
    which is collected if the machine is added again.
    """

    http: ClassVar[Http] = delete("/hosts/{uuid}")
    entity: ClassVar[str | None] = "Host"

    uuid: Uuid


class DeleteHostDebt(ApiDelete, frozen=True, kw_only=True, tag="host.delete-debt"):
    """Forget something that is still to be removed on a machine, because it was removed there by hand, or never will be."""

    http: ClassVar[Http] = delete("/hosts/debts/{uuid}")
    entity: ClassVar[str | None] = "HostDebt"

    uuid: Uuid


class HostView(Struct, frozen=True, kw_only=True):
    """A host, as other services need it."""

    uuid: HostId
    name: str
    cluster_uuid: ClusterId
    zone_uuid: ZoneId
    management_ip: str
    connected: bool
    is_new: bool = False  #: it was never connected yet


class HostList(Struct, frozen=True, kw_only=True):
    """The hosts that `ListHosts` found."""

    hosts: list[HostView]


class ListHosts(Query[HostList], frozen=True, kw_only=True, tag="host.list"):
    """The hosts of some clusters, and those with some uuids; one that does not exist is left out."""

    cluster_uuids: list[ClusterId] = []
    host_uuids: list[HostId] = []


class Synced(Struct, frozen=True, kw_only=True):
    """How a part of a host was brought in line."""

    done: bool


class SyncHost(Command[Synced], frozen=True, kw_only=True, tag="host.sync"):
    """Bring a part of a host in line with the database. Safe to repeat."""

    route: ClassVar[str | None] = "host"

    host: str
    kind: str
    subject: str = ""
    #: why, if it is to be done when the host is connected and its turn comes; None: now
    later: str | None = None


class HostChangeCounts(Struct, frozen=True, kw_only=True):
    """For each cluster that was asked for, how often its hosts changed. Two equal answers: the hosts are the same."""

    changes: dict[ClusterId, int]


class CountHostChanges(Query[HostChangeCounts], frozen=True, kw_only=True, tag="host.count-changes"):
    """Tell whether clusters have the hosts that they had, with the addresses that they had, without looking at hosts."""

    cluster_uuids: list[ClusterId]


class HostStatusChanged(Event, frozen=True, kw_only=True, tag="host.status-changed"):
    """A host was connected or lost."""

    host: str
    name: str
    before: str
    status: str
    reason: str | None = None


class HostSyncFailed(Event, frozen=True, kw_only=True, tag="host.sync-failed"):
    """A part of a host could not be brought in line with the database; it is tried again."""

    host: str
    kind: str  #: l2, flat, debts
    subject: str  #: which one of several; empty: there is one
    reason: str
