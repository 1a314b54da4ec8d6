from __future__ import annotations

from pathlib import Path

import pytest

from cairn.agents.errors import AgentError
from cairn.agents.files import Folders, PreparedFolders, capacity
from cairn.agents.protocol import codes
from cairn.agents.state import Record


def folders(tmp_path: Path) -> Folders:
    return Folders(Record(tmp_path / "data" / "storage.json", PreparedFolders), tmp_path / "data")


@pytest.fixture
def prepared(tmp_path: Path) -> Folders:
    made = folders(tmp_path)
    made.prepare(str(tmp_path / "ps"))
    return made


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/etc",
        "/etc/x",
        "/usr/lib/x",
        "/var",
        "/var/lib",
        "/proc/1",
        "relative",
        "",
        "/var/../etc",
        "/tmp",
        "/x\0y",
    ],
)
def test_system_folders_and_relative_paths_are_no_storage(tmp_path: Path, path: str) -> None:
    with pytest.raises(AgentError) as caught:
        folders(tmp_path).prepare(path)
    assert caught.value.code == codes.PATH_REFUSED


def test_own_data_folder_is_no_storage(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "data", tmp_path / "data" / "x"):
        with pytest.raises(AgentError, match="own data"):
            folders(tmp_path).prepare(str(path))


def test_link_to_a_system_folder_is_no_storage(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    with pytest.raises(AgentError, match="of the system"):
        folders(tmp_path).prepare(str(tmp_path / "link"))


def test_prepared_folders_are_remembered(tmp_path: Path, prepared: Folders) -> None:
    assert folders(tmp_path).paths == [tmp_path / "ps"]


@pytest.mark.parametrize("path", ["{0}/../x", "{0}/ps/../../x", "/etc/passwd", "ps/x", "{0}/ps", "{0}/ps/a/..", "{0}"])
def test_paths_outside_of_prepared_folders_are_refused(tmp_path: Path, prepared: Folders, path: str) -> None:
    with pytest.raises(AgentError) as caught:
        prepared.confine(path.format(tmp_path))
    assert caught.value.code == codes.PATH_REFUSED


def test_links_do_not_lead_out(tmp_path: Path, prepared: Folders) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_text("x")
    (tmp_path / "ps" / "folder").symlink_to(tmp_path / "outside")
    (tmp_path / "ps" / "file").symlink_to(tmp_path / "outside" / "precious")
    for path in ("ps/folder/precious", "ps/file"):
        with pytest.raises(AgentError):
            prepared.delete(str(tmp_path / path))
    assert (tmp_path / "outside" / "precious").exists()


def test_delete_removes_the_file_and_its_empty_folder_and_finds_nothing_the_second_time(
    tmp_path: Path, prepared: Folders
) -> None:
    file = tmp_path / "ps" / "vol" / "a.qcow2"
    file.parent.mkdir()
    file.write_text("x")
    for _ in range(2):
        prepared.delete(str(file))
    assert not file.parent.exists()
    assert (tmp_path / "ps").exists()


def test_delete_leaves_a_folder_with_other_files(tmp_path: Path, prepared: Folders) -> None:
    folder = tmp_path / "ps" / "vol"
    folder.mkdir()
    (folder / "a").write_text("x")
    (folder / "b").write_text("x")
    prepared.delete(str(folder / "a"))
    assert (folder / "b").exists()


def test_capacity_of_a_missing_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="reconnect") as caught:
        capacity(tmp_path / "none")
    assert caught.value.code == codes.MISSING_FILE
