from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

import pytest

from cairn.cli.errors import CliError
from cairn.cli.up import guest


def test_image_is_offered_and_nothing_else(tmp_path: Path) -> None:
    image = tmp_path / "guest.qcow2"
    image.write_bytes(b"QFI\xfb" * 1000)
    (tmp_path / "secret").write_text("x")
    with guest.offered(image, "127.0.0.1") as url:
        with urllib.request.urlopen(url) as answer:
            assert answer.read() == image.read_bytes()
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(url.replace("guest.qcow2", "secret"))
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url, timeout=2)


def test_given_image_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="There is no image"):
        guest.ensure_image(tmp_path, tmp_path / "nothing")


def test_built_image_is_used_again(tmp_path: Path) -> None:
    path = guest.image_file(tmp_path)
    path.parent.mkdir()
    path.write_text("")
    assert guest.ensure_image(tmp_path, None) == path


def test_without_a_source_tree_an_image_has_to_be_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest, "builder", lambda: tmp_path / "build.py")
    with pytest.raises(CliError, match="--image FILE"):
        guest.ensure_image(tmp_path, None)


def test_failed_build_is_told_with_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "build.py"
    program.write_text("import sys; sys.exit('mcopy is missing')")
    monkeypatch.setattr(guest, "builder", lambda: program)
    with pytest.raises(CliError, match="mcopy is missing"):
        guest.ensure_image(tmp_path, None)


def test_the_builder_is_in_the_source_tree() -> None:
    assert guest.builder().is_file()
