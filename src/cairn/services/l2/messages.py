"""API messages about L2 networks."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from cairn.kernel.api import (
    ApiCommand,
    ApiCreate,
    ApiDelete,
    ApiUpdate,
    Description,
    Http,
    Name,
    Reference,
    Refers,
    Uuid,
    action,
    delete,
    post,
)
from cairn.kernel.bus.message import Command, Event
from cairn.kernel.words import END

#: A network interface of Linux, as agents take it.
Interface = Annotated[
    str, Meta(pattern=rf"^[A-Za-z0-9_][A-Za-z0-9_.-]{{0,14}}{END}", description="name of a network interface, eth0")
]
Vni = Annotated[int, Meta(ge=1, le=16_777_214, description="VXLAN network identifier, 1 to 16777214")]


class CreateL2NoVlanNetwork(ApiCreate, frozen=True, kw_only=True, tag="l2.create-no-vlan"):
    """Make an L2 network of untagged frames: on each host a bridge with a physical interface as its port.

    Nothing is done on hosts until it is attached to their cluster.
    """

    http: ClassVar[Http] = post("/l2-networks/no-vlan")
    entity: ClassVar[str | None] = "L2Network"

    name: Name
    description: Description | None = None
    zone_uuid: Annotated[Uuid, Refers("Zone")]  #: only clusters of this zone can have it
    physical_interface: Interface  #: that every host of an attached cluster must have
    type: Literal["L2NoVlanNetwork"] = "L2NoVlanNetwork"
    v_switch_type: Literal["LinuxBridge"] = "LinuxBridge"


class CreateL2VxlanNetwork(ApiCreate, frozen=True, kw_only=True, tag="l2.create-vxlan"):
    """Make an L2 network of its own over the hosts' IP network: VXLAN tunnels between all hosts of its clusters.

    Errors: ``l2.vni-taken`` when another network has `vni`; ``l2.no-free-vni`` when none is given and the range of the
    settings ``l2.vxlan.firstVni`` and ``l2.vxlan.lastVni`` is used up.
    """

    http: ClassVar[Http] = post("/l2-networks/vxlan")
    entity: ClassVar[str | None] = "L2Network"

    name: Name
    description: Description | None = None
    zone_uuid: Annotated[Uuid, Refers("Zone")]  #: only clusters of this zone can have it
    vni: Vni | None = None  #: by default the lowest free one of the range that the settings give
    pool_uuid: Uuid | None = None  #: for clients that know pools; cairn has one range and needs none
    type: Literal["VxlanNetwork"] = "VxlanNetwork"
    v_switch_type: Literal["LinuxBridge"] = "LinuxBridge"


class UpdateL2Network(ApiUpdate, frozen=True, kw_only=True, tag="l2.update"):
    """Change an L2 network's name or description. Errors: ``l2.not-found``."""

    http: ClassVar[Http] = action("/l2-networks/{uuid}/actions", "updateL2Network")
    entity: ClassVar[str | None] = "L2Network"


class DeleteL2Network(ApiDelete, frozen=True, kw_only=True, tag="l2.delete"):
    """Remove an L2 network and its bridges from all hosts. Safe to repeat.

    With ``deleteMode=Enforcing`` the L3 networks on it go first, unless VMs have network cards in them.
    Errors: ``l2.in-use`` (with the number of L3 networks on it), ``cascade.not-deleted``.
    """

    http: ClassVar[Http] = delete("/l2-networks/{uuid}")
    entity: ClassVar[str | None] = "L2Network"

    uuid: Uuid


class L2ClusterCommand(ApiCommand[Reference], frozen=True, kw_only=True):
    """An API call about an L2 network in a cluster."""

    abstract: ClassVar[bool] = True
    route: ClassVar[str | None] = "l2_network_uuid"
    entity: ClassVar[str | None] = "L2Network"

    l2_network_uuid: Annotated[Uuid, Refers("L2Network")]
    cluster_uuid: Annotated[Uuid, Refers("Cluster")]


class AttachL2NetworkToCluster(L2ClusterCommand, frozen=True, kw_only=True, tag="l2.attach"):
    """Give a cluster's hosts an L2 network: its bridge is made on each host that is connected, on others at connect.

    Errors: ``l2.another-zone``, ``l2.attached``, ``l2.interface-taken`` (another L2 network of that cluster has the same
    interface), ``l2.realize-failed`` naming the host and what to do there; nothing stays of a failed try.
    """

    http: ClassVar[Http] = Http(verb="POST", path="/l2-networks/{l2NetworkUuid}/clusters/{clusterUuid}")


class DetachL2NetworkFromCluster(L2ClusterCommand, frozen=True, kw_only=True, tag="l2.detach"):
    """Take an L2 network from a cluster's hosts.

    Errors: ``l2.not-attached``; ``l2.in-use``, with the number of VMs there whose network cards are on it. A host that
    cannot be reached keeps an unused bridge.
    """

    http: ClassVar[Http] = delete("/l2-networks/{l2NetworkUuid}/clusters/{clusterUuid}")

    def frees(self) -> bool:
        """A detachment ends something."""
        return True


class EnsureL2Networks(Command[None], frozen=True, kw_only=True, tag="l2.ensure"):
    """See that L2 networks are there on a host. Safe to repeat.

    Errors: ``l2.realize-failed``, ``host.not-found``.
    """

    route: ClassVar[str | None] = "host"

    host: str
    l2_networks: list[str]


class L2PeersChanged(Event, frozen=True, kw_only=True, tag="l2.peers-changed"):
    """A host that was an end of a network's tunnels is gone: the others are told."""

    l2_network: str
