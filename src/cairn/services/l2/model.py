"""L2 networks and the clusters that have them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from hashlib import blake2b
from typing import Annotated, ClassVar

from cairn.kernel.store.record import (
    AdminOnly,
    Doc,
    Key,
    Named,
    Record,
    References,
    TableMeta,
    Unique,
    Uuids,
    Via,
    Visible,
)
from cairn.services.ids import ClusterId, L2NetworkId, ZoneId

_INTERFACE_CHARACTERS = 15
_MTU = 1500
_VXLAN_OVERHEAD = 50  # outer Ethernet, IPv4, UDP and VXLAN headers


class L2Type(StrEnum):
    """How an L2 network's frames travel between hosts."""

    NO_VLAN = "L2NoVlanNetwork"  #: untagged on a physical interface
    VXLAN = "VxlanNetwork"  #: in tunnels between the hosts


class L2Network(Named, frozen=True, kw_only=True):
    """A network of frames: machines on it reach each other without a router."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="l2_network",
        entity="L2Network",
        noun="l2",
        title="L2 network",
        visible=Visible.PUBLIC,
        columns=("name", "uuid", "type", "vni", "physicalInterface"),
        nested={
            "attachedClusterUuids": Uuids(link="l2_network_cluster_ref", own="l2_network_uuid", other="cluster_uuid")
        },
        via={
            "cluster": Via(link="l2_network_cluster_ref", own="l2_network_uuid", other="cluster_uuid", target="Cluster")
        },
    )

    uuid: Annotated[L2NetworkId, Key()]
    zone_uuid: Annotated[ZoneId, References("zone", join="zone", back="l2Networks")]
    physical_interface: Annotated[
        str | None, AdminOnly(), Doc("the port of its bridge on every host; none for tunnels")
    ] = None
    type: L2Type
    vni: Annotated[int | None, AdminOnly(), Unique(), Doc("VXLAN network identifier; none for other types")] = None
    v_switch_type: str = "LinuxBridge"

    @property
    def bridge(self) -> str:
        """The name of its bridge, the same on every host.

        It follows from what the bridge carries, not from the uuid, so that people can read it, and so that a network that
        takes an interface over from a deleted one finds the bridge that an unreachable host may still have: ``br_eth0``,
        ``br_vx_1000``. A name must fit into 15 characters; a longer one is ``br`` and a digest of the interface.
        """
        if self.type is L2Type.VXLAN:
            return f"br_vx_{self.vni}"
        name = f"br_{self.physical_interface}"
        if len(name) <= _INTERFACE_CHARACTERS:
            return name
        return f"br{blake2b(name.encode(), digest_size=6).hexdigest()}"

    @property
    def mtu(self) -> int:
        """Bytes that a frame may carry."""
        return _MTU - _VXLAN_OVERHEAD if self.type is L2Type.VXLAN else _MTU


class L2NetworkClusterRef(Record, frozen=True, kw_only=True):
    """An L2 network is attached to a cluster."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="l2_network_cluster_ref",
        unique_together=(("l2_network_uuid", "cluster_uuid"),),
        remembered=True,
    )

    id: Annotated[int, Key(auto=True)] = 0
    l2_network_uuid: Annotated[L2NetworkId, References("l2_network", on_delete="cascade")]
    cluster_uuid: Annotated[ClusterId, References("cluster")]
    create_date: datetime
