from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from cairn.agents.downloads import Downloader
from cairn.agents.errors import AgentError
from cairn.agents.files import Folders, PreparedFolders
from cairn.agents.kvm.volumes import Volumes
from cairn.agents.programs import SubprocessRunner
from cairn.agents.protocol import codes
from cairn.agents.protocol.storage import CacheImage, CreateVolume
from cairn.agents.state import Record

pytestmark = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-utils is not installed")
MIB = 1 << 20


class World:
    def __init__(self, folder: Path) -> None:
        self.source = folder / "served" / "image.qcow2"
        self.source.parent.mkdir()
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(self.source), "8M"], check=True)
        self.store = folder / "ps"
        folders = Folders(Record(folder / "s.json", PreparedFolders), folder / "data")
        folders.prepare(str(self.store))
        self.volumes = Volumes(folders, Downloader(None, [self.source.parent]), SubprocessRunner())

    def cache(self, sha256: str | None = None, limit: int = 1 << 40) -> CacheImage:
        return CacheImage(
            url=f"file://{self.source}",
            path=str(self.store / "cache" / "image.qcow2"),
            format="qcow2",
            sha256=sha256 or hashlib.sha256(self.source.read_bytes()).hexdigest(),
            max_virtual_size_bytes=limit,
        )

    def create(self, size: int = 0, backing: bool = True) -> CreateVolume:
        return CreateVolume(
            path=str(self.store / "vol" / "a.qcow2"),
            size_bytes=size,
            backing_path=self.cache().path if backing else None,
            backing_format="qcow2" if backing else None,
        )

    def left(self) -> list[str]:
        return sorted(str(p.relative_to(self.store)) for p in self.store.rglob("*"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def refused(call: object, code: str) -> None:
    with pytest.raises(AgentError) as caught:
        await call  # type: ignore[misc]
    assert caught.value.code == code


async def test_image_is_fetched_once_and_carries_a_volume(world: World) -> None:
    first = await world.volumes.cache(world.cache())
    cache = world.cache()
    world.source.unlink()
    assert await world.volumes.cache(cache) == first
    create = CreateVolume(path=str(world.store / "v" / "a"), size_bytes=1, backing_path=cache.path)
    for _ in range(2):
        assert (await world.volumes.create(create)).virtual_size_bytes == 8 * MIB


async def test_image_with_another_hash_is_refused_and_nothing_is_left(world: World) -> None:
    await refused(world.volumes.cache(world.cache("0" * 64)), codes.CHECKSUM)
    assert world.left() == []
    await refused(world.volumes.cache(world.cache("not a hash")), codes.BAD_REQUEST)


async def test_hostile_image_is_refused_and_nothing_is_left(world: World) -> None:
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", "/etc/shadow", "-F", "raw", str(world.source), "1M"]
    await SubprocessRunner().run(argv)
    await refused(world.volumes.cache(world.cache()), codes.BACKING_FILE)
    assert world.left() == []


async def test_image_that_is_too_large_is_refused(world: World) -> None:
    await refused(world.volumes.cache(world.cache(limit=8 * MIB - 1)), codes.IMAGE_TOO_LARGE)
    assert world.left() == []


async def test_empty_volume_has_its_size_rounded_up_to_sectors(world: World) -> None:
    assert (await world.volumes.create(world.create(MIB + 1, backing=False))).virtual_size_bytes == MIB + 512
    await refused(world.volumes.create(world.create(2 * MIB, backing=False)), codes.EXISTS)


async def test_volume_needs_a_size_or_an_image_that_is_there(world: World) -> None:
    await refused(world.volumes.create(world.create(0, backing=False)), codes.BAD_REQUEST)
    await refused(world.volumes.create(world.create(0)), codes.MISSING_FILE)
    assert world.left() == []


async def test_full_disk_is_told_before_anything_is_written(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cairn.agents.kvm.volumes.free_bytes", lambda _: 3)
    await refused(world.volumes.create(world.create(MIB, backing=False)), codes.NO_SPACE)
    assert world.left() == []
