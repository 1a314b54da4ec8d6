from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, ClassVar

import pytest
from msgspec.structs import replace
from tests.unit.services.storage_rig import IMAGE, PaperSources, StorageRig, candidate

from cairn.agents.protocol.host import HostFacts
from cairn.kernel.plugin.manifest import Manifest
from cairn.kernel.store.record import Key, Record, TableMeta, Visible
from cairn.services.host.extensions import Candidate, HostNeed
from cairn.services.ids import HostId, VmId, VolumeId, ZoneId
from cairn.services.primary_storage.image_filter import ImageFilter

NEED = HostNeed(vm_uuid=VmId("v"), cpu_num=1, memory_size=1, disk_bytes=1, image_uuid=IMAGE.uuid, l3_network_uuids=[])
HERE = candidate("c", "h1")


class Host(Record, frozen=True, kw_only=True):
    """What is asked of a host."""

    meta: ClassVar[TableMeta] = TableMeta(table="host", entity="Host", visible=Visible.ADMIN)

    uuid: Annotated[str, Key()]
    architecture: str


@pytest.fixture
async def rig(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StorageRig]:
    monkeypatch.setattr("cairn.services.primary_storage.image_filter.Host", Host)
    rig = await StorageRig().start(Manifest(package=__name__, doc="Tables alone."))
    rig.sources.architectures = {IMAGE.uuid: "x86_64"}
    rig.sources.reached = frozenset({ZoneId("z")})
    yield rig
    await rig.stop()


async def refused(rig: StorageRig, judge: ImageFilter, need: HostNeed = NEED, *more: Candidate) -> dict[HostId, str]:
    return await rig.node.context.store.write(lambda tx: judge.refuse(tx, need, [HERE, *more]))


async def test_host_with_other_processors_is_refused_with_both(rig: StorageRig) -> None:
    await rig.node.insert(Host(uuid="h1", architecture="x86_64"), Host(uuid="h2", architecture="aarch64"))
    assert await refused(rig, ImageFilter(rig.sources), NEED, candidate("c", "h2")) == {
        "h2": "has aarch64 processors, and the image is for x86_64"
    }


async def test_processors_are_looked_up_once_and_told_when_a_host_connects(rig: StorageRig) -> None:
    judge = ImageFilter(rig.sources)
    await rig.node.insert(Host(uuid="h1", architecture="x86_64"))
    assert await refused(rig, judge) == {}
    await rig.node.context.store.write(lambda tx: tx.update(Host, "h1", architecture="aarch64"))
    assert await refused(rig, judge) == {}
    await judge.host_connecting(HostId("h1"), HostFacts(hostname="h1", architecture="aarch64"))
    assert set(await refused(rig, judge)) == {"h1"}


async def test_processors_are_looked_up_again_when_another_node_has_changed_the_host(rig: StorageRig) -> None:
    judge = ImageFilter(rig.sources)
    await rig.node.insert(Host(uuid="h1", architecture="x86_64"))
    assert await refused(rig, judge) == {}
    await rig.node.context.store.write(lambda tx: tx.update(Host, "h1", architecture="aarch64"))
    judge.hosts_changed(frozenset(("h2",)))
    assert await refused(rig, judge) == {}
    judge.hosts_changed(frozenset(("h1",)))
    assert set(await refused(rig, judge)) == {"h1"}


async def test_host_whose_processors_are_not_known_is_let_pass(rig: StorageRig) -> None:
    assert await refused(rig, ImageFilter(rig.sources)) == {}


async def test_new_vm_wants_a_zone_that_the_image_can_be_fetched_in_and_one_with_its_disk_does_not(
    rig: StorageRig,
) -> None:
    rig.sources.reached = frozenset({ZoneId("elsewhere")})
    judge = ImageFilter(rig.sources)
    assert await refused(rig, judge) == {"h1": "is in a zone without a usable backup storage that has the image"}
    assert await refused(rig, judge, replace(NEED, root_volume_uuid=VolumeId("d"))) == {}


async def test_image_that_is_gone_keeps_no_vm_from_starting(rig: StorageRig) -> None:
    rig.sources.architectures = {}
    rig.sources.reached = frozenset()
    assert isinstance(rig.sources, PaperSources)
    assert await refused(rig, ImageFilter(rig.sources)) == {}
