"""Commands on files of a simulated world, beyond what the conformance suite asks of every agent."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cairn.agents.protocol import codes, storage
from cairn.agents.protocol.storage import (
    CacheImage,
    CreateVolume,
    DeleteFile,
    DownloadImage,
    GetCapacity,
    ImageInfo,
    InitStorage,
)
from cairn.agents.protocol.wire import AgentCommand, Result
from cairn.simulator.commands import apply
from cairn.simulator.refusal import Refused
from cairn.simulator.world import BACKUP, Machine, SimHost, World, new_world

FOLDER = "/storage"


class Fixture:
    def __init__(self, machine: Machine | None = None) -> None:
        self.world: World = new_world(1, machine=machine)
        self.host: SimHost = self.world.hosts["sim-0001"]
        self.do(InitStorage(path=FOLDER))

    def do(self, command: AgentCommand[Any], name: str = "sim-0001") -> Result:
        body = msgspec.Raw(msgspec.json.encode(command))
        return apply(self.world, self.world.hosts[name], command.name, body)

    def refused(self, command: AgentCommand[Any], name: str = "sim-0001") -> str:
        before = msgspec.json.encode(self.world)
        with pytest.raises(Refused) as caught:
            self.do(command, name)
        assert msgspec.json.encode(self.world) == before, "a refused command has changed the world"
        return caught.value.failure.code


def backed_up(site: Fixture, url: str = "http://images/debian.qcow2?virtual=4096&size=1000") -> ImageInfo:
    image = site.do(DownloadImage(url=url, path="/backup/u1/debian.qcow2", format="qcow2"), BACKUP)
    assert isinstance(image, ImageInfo)
    return image


@pytest.mark.parametrize(
    "url", ["http://h/hosts/backup/backup/u1/debian.qcow2", "http://h/files/debian.qcow2", "http://h/v1/images/by-id"]
)
def test_image_is_found_on_the_backup_server_by_path_name_or_content(url: str) -> None:
    site = Fixture()
    image = backed_up(site)
    cached = site.do(CacheImage(url=url, path=f"{FOLDER}/cache/i", format="qcow2", sha256=image.sha256))
    assert isinstance(cached, ImageInfo)
    assert (cached.path, cached.virtual_size_bytes) == (f"{FOLDER}/cache/i", 4096)


def test_cached_image_under_a_volume_cannot_be_deleted() -> None:
    site = Fixture()
    image = backed_up(site)
    site.do(CacheImage(url="http://h/debian.qcow2", path=f"{FOLDER}/i", format="qcow2", sha256=image.sha256))
    over = CreateVolume(path=f"{FOLDER}/v", size_bytes=1, backing_path=f"{FOLDER}/i", backing_format="qcow2")
    site.do(over)
    assert site.refused(DeleteFile(path=f"{FOLDER}/i")) == codes.BUSY
    assert site.refused(CreateVolume(path=f"{FOLDER}/i", size_bytes=1)) == codes.EXISTS
    wrong = CreateVolume(path=f"{FOLDER}/w", size_bytes=1, backing_path=f"{FOLDER}/i", backing_format="raw")
    assert site.refused(wrong) == codes.WRONG_FORMAT
    site.do(DeleteFile(path=f"{FOLDER}/v"))
    site.do(DeleteFile(path=f"{FOLDER}/i"))
    assert not site.host.images


def test_full_disk_is_told() -> None:
    site = Fixture(Machine(disk_bytes=(20 << 30) + 1500))
    image = backed_up(site)
    cache = CacheImage(url="http://h/debian.qcow2", path=f"{FOLDER}/i", format="qcow2", sha256=image.sha256)
    site.do(cache)
    assert site.refused(CreateVolume(path=f"{FOLDER}/v", size_bytes=1 << 30)) == codes.NO_SPACE
    assert site.refused(msgspec.structs.replace(cache, path=f"{FOLDER}/j")) == codes.NO_SPACE
    capacity = site.do(GetCapacity(path=FOLDER))
    assert isinstance(capacity, storage.Capacity)
    assert capacity.available_bytes == 500
