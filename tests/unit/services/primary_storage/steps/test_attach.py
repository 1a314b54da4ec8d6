from __future__ import annotations

from typing import cast

import pytest
from tests.unit.services.storage_rig import StorageRig

from cairn.kernel.error import CairnError
from cairn.kernel.flow.step import NOTHING
from cairn.services.primary_storage.messages import AttachPrimaryStorageToCluster
from cairn.services.primary_storage.model import PrimaryStorage, PrimaryStorageClusterRef
from cairn.services.primary_storage.steps.attach import AttachInput, PrepareHosts, RecordAttachment


def attachment(storage: str, cluster: str) -> AttachInput:
    asked = AttachPrimaryStorageToCluster(primary_storage_uuid=storage, cluster_uuid=cluster)
    return AttachInput(uuid=storage, asked=asked)


async def test_attach_has_the_clusters_hosts_prepared_and_shows_the_storage(rig: StorageRig) -> None:
    zone = await rig.zone()
    storage, cluster = await rig.storage(zone), await rig.cluster(zone)

    answer = await rig.attach(storage, cluster)

    assert answer.uuid == storage
    assert rig.driver.prepared == [(storage, cluster)]
    assert (await rig.node.shown("PrimaryStorage", storage))["attachedClusterUuids"] == [cluster]


async def test_attach_twice_or_to_another_zones_cluster_is_refused(rig: StorageRig) -> None:
    zone, far = await rig.zone(), await rig.zone("far")
    storage, cluster, far_cluster = await rig.storage(zone), await rig.cluster(zone), await rig.cluster(far)
    await rig.attach(storage, cluster)

    for wrong, code in ((cluster, "attached-already"), (far_cluster, "wrong-zone")):
        message = AttachPrimaryStorageToCluster(primary_storage_uuid=storage, cluster_uuid=wrong)
        await rig.node.refused(message, f"primary-storage.{code}")
    assert [row.cluster_uuid for row in await rig.node.all(PrimaryStorageClusterRef)] == [cluster]


async def test_attach_of_what_is_gone_is_refused(rig: StorageRig) -> None:
    zone = await rig.zone()
    storage, cluster, gone = await rig.storage(zone), await rig.cluster(zone), rig.node.ids.new()

    for storage_uuid, cluster_uuid, code in (
        (gone, cluster, "primary-storage.not-found"),
        (storage, gone, "cluster.not-found"),
    ):
        message = AttachPrimaryStorageToCluster(primary_storage_uuid=storage_uuid, cluster_uuid=cluster_uuid)
        await rig.node.refused(message, code)


async def test_an_attachment_that_is_undone_twice_leaves_others_alone(rig: StorageRig) -> None:
    zone = await rig.zone()
    storage, cluster, other = await rig.storage(zone), await rig.cluster(zone), await rig.cluster(zone)
    await rig.attach(storage, other)
    step = cast("RecordAttachment", rig.node.context.flows.book.step("primary-storage.record-attachment"))
    given = attachment(storage, cluster)

    await rig.node.context.store.write(lambda tx: step.do(tx, given))
    made = {row.cluster_uuid for row in await rig.node.all(PrimaryStorageClusterRef)}
    for _ in range(2):
        await rig.node.context.store.write(lambda tx: step.undo(tx, given, NOTHING))

    assert made == {cluster, other}
    assert [row.cluster_uuid for row in await rig.node.all(PrimaryStorageClusterRef)] == [other]


async def test_hosts_that_cannot_be_prepared_leave_the_storage_unattached(
    rig: StorageRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def attached(storage: str, cluster: str) -> None:
        raise CairnError("agent.unreachable", "It does not answer, for the test's sake.")

    zone = await rig.zone()
    storage, cluster = await rig.storage(zone), await rig.cluster(zone)
    monkeypatch.setattr(rig.driver, "attached", attached)

    await rig.node.refused(
        AttachPrimaryStorageToCluster(primary_storage_uuid=storage, cluster_uuid=cluster), "agent.unreachable"
    )

    assert await rig.node.all(PrimaryStorageClusterRef) == []


async def test_a_storage_that_is_gone_or_whose_plugin_is_left_out_prepares_nothing(rig: StorageRig) -> None:
    storage = await rig.storage(await rig.zone())
    step = cast("PrepareHosts", rig.node.context.flows.book.step("primary-storage.prepare-hosts"))
    await rig.node.context.store.write(lambda tx: tx.update(PrimaryStorage, storage, type="Gone"))

    for uuid, code in (("f" * 32, "primary-storage.not-found"), (storage, "plugin.no-extension")):
        with pytest.raises(CairnError) as caught:
            await step.do(attachment(uuid, "c" * 32))
        assert caught.value.code == code
    assert rig.driver.prepared == []
