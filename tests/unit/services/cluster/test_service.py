from __future__ import annotations

import msgspec
import pytest
from tests.unit.services.small_node import SmallNode

from cairn.kernel.api import StateEvent
from cairn.kernel.resource import EnabledState
from cairn.services.cluster.messages import (
    Architecture,
    ChangeClusterState,
    CreateCluster,
    HypervisorType,
    UpdateCluster,
)
from cairn.services.cluster.model import Cluster


def creation(node: SmallNode, zone: str) -> CreateCluster:
    return CreateCluster(
        resource_uuid=node.ids.new(),
        name="c1",
        zone_uuid=zone,
        hypervisor_type=HypervisorType.KVM,
        architecture=Architecture.X86_64,
        user_tags=["big"],
    )


async def test_create_shows_what_was_asked_for(node: SmallNode, zone: str) -> None:
    cluster = (await node.call(creation(node, zone))).uuid

    shown = await node.shown("Cluster", cluster)
    assert shown["zoneUuid"] == zone
    assert (shown["hypervisorType"], shown["architecture"], shown["type"]) == ("KVM", "x86_64", "zstack")
    assert shown["state"] == "Enabled"


async def test_create_in_a_zone_that_is_gone_is_refused(node: SmallNode) -> None:
    error = await node.refused(creation(node, node.ids.new()), "zone.not-found")

    assert "zoneUuid" in error.fields


def test_other_hypervisors_are_refused_on_the_wire() -> None:
    body = b'{"@message":"cluster.create","name":"c","zoneUuid":"%s","hypervisorType":"ESX"}' % (b"a" * 32)

    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(body, type=CreateCluster)


async def test_update_and_change_state(node: SmallNode, zone: str) -> None:
    cluster = (await node.call(creation(node, zone))).uuid

    await node.call(UpdateCluster(uuid=cluster, name="other", description="d"))
    await node.call(ChangeClusterState(uuid=cluster, state_event=StateEvent.DISABLE))

    row = await node.one(Cluster, cluster)
    assert (row.name, row.description, row.state) == ("other", "d", EnabledState.DISABLED)
    await node.call(ChangeClusterState(uuid=cluster, state_event=StateEvent.ENABLE))
    assert (await node.one(Cluster, cluster)).state is EnabledState.ENABLED


async def test_changing_a_cluster_that_is_not_there_is_refused(node: SmallNode) -> None:
    await node.refused(UpdateCluster(uuid=node.ids.new(), name="x"), "cluster.not-found")
