"""The L2 service: answers the API's calls about L2 networks."""

from __future__ import annotations

from sqlalchemy import bindparam, select

from cairn.kernel.api import Reference
from cairn.kernel.bus.handlers import handles
from cairn.kernel.config import GlobalConfig
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.workflow import workflow
from cairn.kernel.jobs import Jobs
from cairn.kernel.resource import changed, create, existing, gone
from cairn.kernel.store.record import table_of
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import Tags
from cairn.services.l2 import config
from cairn.services.l2.messages import (
    AttachL2NetworkToCluster,
    CreateL2NoVlanNetwork,
    CreateL2VxlanNetwork,
    DeleteL2Network,
    DetachL2NetworkFromCluster,
    UpdateL2Network,
)
from cairn.services.l2.model import L2Network, L2Type
from cairn.services.zone.model import Zone

_L2 = table_of(L2Network)
_VNIS = select(_L2.c.vni).where(_L2.c.vni.between(bindparam("first"), bindparam("last"))).order_by(_L2.c.vni)

ATTACH = workflow(AttachL2NetworkToCluster)
DETACH = workflow(DetachL2NetworkFromCluster)
DELETE = workflow(DeleteL2Network, unless=gone(L2Network))


class L2Service:
    """Answers the messages about L2 networks."""

    def __init__(self, jobs: Jobs, tags: Tags, settings: GlobalConfig) -> None:
        self._jobs = jobs
        self._tags = tags
        self._settings = settings

    @handles(CreateL2NoVlanNetwork)
    async def create_no_vlan(self, message: CreateL2NoVlanNetwork) -> Reference:
        """Make a network of untagged frames in a zone that exists."""

        def fn(tx: Tx) -> Reference:
            existing(tx, Zone, message.zone_uuid, "zoneUuid")
            return create(tx, self._tags, L2Network, message, type=L2Type.NO_VLAN)

        return await self._jobs.commit(fn)

    @handles(CreateL2VxlanNetwork)
    async def create_vxlan(self, message: CreateL2VxlanNetwork) -> Reference:
        """Make a network of tunnels, with the VNI asked for or the lowest free one."""

        def fn(tx: Tx) -> Reference:
            existing(tx, Zone, message.zone_uuid, "zoneUuid")
            return create(tx, self._tags, L2Network, message, type=L2Type.VXLAN, vni=self._vni(tx, message.vni))

        return await self._jobs.commit(fn)

    def _vni(self, tx: Tx, wanted: int | None) -> int:
        if wanted is not None:
            _check_vni_free(tx, wanted)
            return wanted
        first, last = self._settings.get(config.FIRST_VNI), self._settings.get(config.LAST_VNI)
        free = first
        for (taken,) in tx.rows(_VNIS, {"first": first, "last": last}):
            if taken != free:
                break
            free += 1
        if free > last:
            raise CairnError(
                "l2.no-free-vni",
                f"No VNI is free: the settings l2.vxlan.firstVni and l2.vxlan.lastVni allow {first} to {last}. Widen them, "
                "delete a VXLAN network, or name a VNI outside of them.",
                kind=ErrorKind.EXHAUSTED,
            )
        return free

    @handles(UpdateL2Network)
    async def update(self, message: UpdateL2Network) -> Reference:
        """Change an L2 network's name or description."""
        return await self._jobs.commit(lambda tx: changed(tx, L2Network, message))


def _check_vni_free(tx: Tx, vni: int) -> None:
    for other in tx.find(L2Network, vni=vni):
        raise CairnError(
            "l2.vni-taken",
            f"vni: found {vni}, which belongs to the L2 network {other.name} ({other.uuid}). Take another, or leave it out "
            "and a free one is chosen.",
            kind=ErrorKind.CONFLICT,
            fields={"vni": f"found {vni}; one that no L2 network has would fit"},
        )
