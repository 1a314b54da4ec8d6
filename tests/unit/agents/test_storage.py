from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.unit.agents.fakes import settle

from cairn.agents.errors import AgentError
from cairn.agents.files import Folders, PreparedFolders
from cairn.agents.protocol import codes
from cairn.agents.protocol.storage import DeleteFile, GetCapacity, InitStorage
from cairn.agents.state import Record
from cairn.agents.storage import Storage


async def test_folder_is_prepared_twice_measured_and_cleaned(tmp_path: Path) -> None:
    storage = Storage(Folders(Record(tmp_path / "s.json", PreparedFolders), tmp_path / "data"))
    for _ in range(2):
        capacity = await storage.init(InitStorage(path=str(tmp_path / "ps")))
        assert 0 < capacity.available_bytes <= capacity.total_bytes
    assert (await storage.capacity(GetCapacity(path=str(tmp_path / "ps")))).total_bytes == capacity.total_bytes
    (tmp_path / "ps" / "x").write_text("x")
    for _ in range(2):
        await storage.delete(DeleteFile(path=str(tmp_path / "ps" / "x")))
    assert not (tmp_path / "ps" / "x").exists()


async def test_disk_of_a_running_vm_is_not_deleted(tmp_path: Path) -> None:
    async def user_of(path: str) -> str | None:
        return "vm1" if path.endswith("/x") else None

    storage = Storage(Folders(Record(tmp_path / "s.json", PreparedFolders), tmp_path / "data"), user_of)
    await storage.init(InitStorage(path=str(tmp_path / "ps")))
    (tmp_path / "ps" / "x").write_text("x")
    with pytest.raises(AgentError, match="running VM vm1") as caught:
        await storage.delete(DeleteFile(path=str(tmp_path / "ps" / "x")))
    assert caught.value.code == codes.BUSY
    assert (tmp_path / "ps" / "x").exists()


async def test_file_that_is_being_made_is_deleted_when_that_has_ended(tmp_path: Path) -> None:
    folders = Folders(Record(tmp_path / "s.json", PreparedFolders), tmp_path / "data")
    storage = Storage(folders)
    await storage.init(InitStorage(path=str(tmp_path / "ps")))
    path = tmp_path / "ps" / "x"
    async with folders.locks(str(path)):
        deleting = asyncio.ensure_future(storage.delete(DeleteFile(path=str(path))))
        await settle()
        path.write_text("x")
    await deleting
    assert not path.exists()
