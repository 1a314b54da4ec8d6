from __future__ import annotations

import os
from pathlib import Path

import pytest

from cairn.kernel.error import CairnError
from cairn.kernel.store.key_watch import KeyWatch
from cairn.kernel.store.seal import Seals
from cairn.kernel.store.sealing import keys_in, open_seals, rotate


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "secret.key"


@pytest.fixture
def seals(file: Path, tmp_path: Path) -> Seals:
    return open_seals(file, tmp_path / "none.db")


def test_a_key_that_is_added_opens_at_once_and_does_not_seal_yet(file: Path, seals: Seals) -> None:
    watch, before = KeyWatch(file, seals), seals.current
    assert watch.look() == 0
    new = rotate(file)
    other = Seals(keys_in(file))
    sealed = other.seal(b"value", "table.field")
    with pytest.raises(CairnError, match=new):
        seals.open(sealed, "table.field")
    assert (watch.look(), watch.look()) == (1, 0)
    assert seals.open(sealed, "table.field") == b"value"
    assert seals.current is before
    assert other.open(seals.seal(b"value", "table.field"), "table.field") == b"value"


def test_a_file_that_is_gone_or_damaged_changes_nothing(file: Path, seals: Seals) -> None:
    watch, sealed = KeyWatch(file, seals), seals.seal(b"value", "table.field")
    kept = file.read_bytes()
    file.write_text("nonsense")
    os.utime(file, ns=(1, 1))
    assert watch.look() == 0
    file.unlink()
    assert watch.look() == 0
    assert seals.open(sealed, "table.field") == b"value"
    file.write_bytes(kept)
    file.chmod(0o600)
    rotate(file)
    assert watch.look() == 1
