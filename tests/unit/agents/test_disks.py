from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest
from tests.unit.agents.fakes import FakeClock, until

from cairn.agents.disks import Disks
from cairn.agents.files import Folders, PreparedFolders, capacity, used_bytes
from cairn.agents.protocol.storage import Capacity
from cairn.agents.state import Record


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(Record(tmp_path / "s.json", PreparedFolders), tmp_path / "data")


async def test_folders_are_told_by_the_names_they_were_given(folders: Folders, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    folders.prepare(str(tmp_path / "link" / "ps"))
    again = Folders(Record(tmp_path / "s.json", PreparedFolders), tmp_path / "data")
    for known in (folders, again):
        spaces = await Disks(known, FakeClock()).spaces()
        assert set(spaces) == {str(tmp_path / "link" / "ps"), str(tmp_path / "disk" / "ps")}
        assert len({space.file_system for space in spaces.values()}) == 1


async def test_folder_that_is_gone_is_left_out(folders: Folders, tmp_path: Path) -> None:
    for name in ("a", "b"):
        folders.prepare(str(tmp_path / name))
    (tmp_path / "a").rmdir()
    assert set(await Disks(folders, FakeClock()).spaces()) == {str(tmp_path / "b")}


async def test_disk_that_hangs_holds_up_no_ping(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders.prepare(str(tmp_path / "ps"))
    go_on, asked = threading.Event(), 0

    def hang(path: Path) -> Capacity:
        nonlocal asked
        asked += 1
        if asked > 1:
            go_on.wait(10)
        return Capacity(total_bytes=2, available_bytes=asked)

    monkeypatch.setattr("cairn.agents.disks.capacity", hang)
    clock = FakeClock()
    disks = Disks(folders, clock)
    seen = [(await disks.spaces())[str(tmp_path / "ps")].available_bytes]
    for _ in range(2):
        ping = asyncio.create_task(disks.spaces())
        await clock.advance(1)
        seen.append((await ping)[str(tmp_path / "ps")].available_bytes)
    await until(lambda: asked == 2)
    assert seen == [1, 1, 1]
    go_on.set()
    await until(lambda: disks._measuring is None or disks._measuring.done())
    assert (await disks.spaces())[str(tmp_path / "ps")].available_bytes == 3


def test_files_are_counted_by_what_they_take(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    device = tmp_path.stat().st_dev
    before = used_bytes(tmp_path, device)
    with (tmp_path / "a" / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    (tmp_path / "a" / "b" / "full").write_bytes(os.urandom(1 << 20))
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert (1 << 20) <= used_bytes(tmp_path, device) - before < (1 << 20) + (64 << 10)
    assert used_bytes(tmp_path / "none", device) == 0
    assert capacity(tmp_path).used_bytes == used_bytes(tmp_path, device)
