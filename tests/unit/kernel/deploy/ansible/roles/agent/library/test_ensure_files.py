from __future__ import annotations

import importlib.util
import stat
from pathlib import Path
from types import ModuleType

import pytest

from cairn.kernel.deploy.ansible import SHARED_ROLES


@pytest.fixture
def module() -> ModuleType:
    path = SHARED_ROLES / "agent" / "library" / "ensure_files.py"
    spec = importlib.util.spec_from_file_location("ensure_files", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folders_and_files_are_made_and_a_second_time_nothing_changes(module: ModuleType, tmp_path: Path) -> None:
    folders = [{"path": str(tmp_path / "a" / "b"), "mode": "0700"}]
    files = [{"path": str(tmp_path / "a" / "b" / "key"), "mode": "0600", "content": "é"}]

    assert module.ensure_all(folders, files) == [folders[0]["path"], files[0]["path"]]
    assert module.ensure_all(folders, files) == []
    assert mode(tmp_path / "a" / "b") == 0o700
    assert mode(tmp_path / "a" / "b" / "key") == 0o600
    assert (tmp_path / "a" / "b" / "key").read_text() == "é"
    assert len(list((tmp_path / "a" / "b").iterdir())) == 1


def test_wrong_content_and_wrong_mode_are_corrected(module: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("old")
    path.chmod(0o644)

    assert module.ensure_file(str(path), 0o644, b"new")
    assert module.ensure_file(str(path), 0o600, b"new")
    assert not module.ensure_file(str(path), 0o600, b"new")
    assert (path.read_text(), mode(path)) == ("new", 0o600)


def test_folder_with_another_mode_is_corrected(module: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir(mode=0o755)

    assert module.ensure_folder(str(tmp_path / "d"), 0o700)
    assert mode(tmp_path / "d") == 0o700
