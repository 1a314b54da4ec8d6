"""The table of clusters."""

from __future__ import annotations

from typing import Annotated, ClassVar

from cairn.kernel.resource import EnabledState
from cairn.kernel.store.record import Doc, Key, Named, References, TableMeta, Visible
from cairn.services.ids import ClusterId, ZoneId


class Cluster(Named, frozen=True, kw_only=True):
    """Hosts of one kind that share networks and storage."""

    meta: ClassVar[TableMeta] = TableMeta(table="cluster", entity="Cluster", visible=Visible.PUBLIC, remembered=True)

    uuid: Annotated[ClusterId, Key()]
    zone_uuid: Annotated[ZoneId, References("zone", join="zone", back="clusters")]
    hypervisor_type: Annotated[str, Doc("KVM or Simulator; hosts must be of this kind")]
    state: EnabledState = EnabledState.ENABLED
    type: str = "zstack"
    architecture: str | None = None
