"""Clusters."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from cairn.kernel.store.record import Doc, Index, Key, Record, References, TableMeta, Text


class ClusterState(StrEnum):
    """What people want of a cluster."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"  #: no new VMs; those that run stay


class Cluster(Record, frozen=True, kw_only=True):
    """Hosts of one kind that share networks and storage."""

    meta: ClassVar[TableMeta] = TableMeta(table="cluster", entity="Cluster")

    uuid: Annotated[str, Key()]
    name: Annotated[str, Index()]
    description: Annotated[str | None, Text(2048)] = None
    zone_uuid: Annotated[str, References("zone", join="zone", back="clusters")]
    hypervisor_type: Annotated[str, Doc("KVM or Simulator; hosts must be of this kind")]
    state: ClusterState = ClusterState.ENABLED
    type: str = "zstack"
    architecture: str | None = None
    create_date: datetime
    last_op_date: datetime
