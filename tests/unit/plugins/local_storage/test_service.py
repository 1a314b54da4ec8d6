from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.unit.services.storage_rig import StorageRig

from cairn.kernel.plugin.manifest import Manifest
from cairn.kernel.tag import UserTag
from cairn.plugins.local_storage.messages import AddLocalPrimaryStorage
from cairn.plugins.local_storage.service import LocalStorageService
from cairn.services.primary_storage.model import PrimaryStorage

SERVICE = Manifest(
    package="cairn.plugins.local_storage.service",
    doc="The service alone.",
    build=lambda node: node.bus.serve(LocalStorageService(node.jobs, node.tags)),
)


@pytest.fixture
async def rig() -> AsyncIterator[StorageRig]:
    rig = await StorageRig().start(SERVICE)
    yield rig
    await rig.stop()


def add(rig: StorageRig, zone: str, url: str) -> AddLocalPrimaryStorage:
    return AddLocalPrimaryStorage(
        resource_uuid=rig.node.ids.new(), name="local", zone_uuid=zone, url=url, user_tags=["ssd"]
    )


async def test_local_storage_is_added_with_its_folder_and_tags(rig: StorageRig) -> None:
    zone = await rig.zone()

    uuid = (await rig.node.call(add(rig, zone, "/data/"))).uuid

    row = await rig.node.one(PrimaryStorage, uuid)
    assert (row.type, row.url, row.mount_path, row.zone_uuid) == ("LocalStorage", "/data/", "/data", zone)
    assert [tag.tag for tag in await rig.node.all(UserTag, resource_uuid=uuid)] == ["ssd"]


async def test_a_folder_belongs_to_one_storage_of_a_zone(rig: StorageRig) -> None:
    zone, other = await rig.zone(), await rig.zone("other")
    await rig.node.call(add(rig, zone, "/data"))

    error = await rig.node.refused(add(rig, zone, "/data/"), "local-storage.path-taken")
    await rig.node.call(add(rig, other, "/data"))

    assert "url" in error.fields


async def test_a_system_folder_and_a_zone_that_is_gone_are_refused(rig: StorageRig) -> None:
    await rig.node.refused(add(rig, await rig.zone(), "/etc/x"), "local-storage.bad-path")
    await rig.node.refused(add(rig, "f" * 32, "/data"), "zone.not-found")

    assert await rig.node.all(PrimaryStorage) == []
