from __future__ import annotations

import subprocess
from pathlib import Path

from cairn.kernel.deploy.own_key import OwnKey


def test_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    key = OwnKey(tmp_path / "ssh" / "cairn.key")
    line = key.public()
    assert OwnKey(tmp_path / "ssh" / "cairn.key").public() == line
    assert key.path.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in key.path.parent.iterdir()] == ["cairn.key"]


def test_ssh_takes_it_for_the_pair_that_it_is(tmp_path: Path) -> None:
    key = OwnKey(tmp_path / "cairn.key")
    line = key.public()
    shown = subprocess.run(["ssh-keygen", "-y", "-f", str(key.path)], check=True, capture_output=True, text=True).stdout
    assert shown.split()[:2] == line.split()[1:3]
    assert line.startswith("restrict ssh-ed25519 ")
