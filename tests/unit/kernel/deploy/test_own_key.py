from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

from cairn.kernel.deploy.own_key import OwnKey
from cairn.testing.shared import shared_store


async def test_key_is_made_once_for_all_nodes_and_only_its_owner_reads_a_copy(tmp_path: Path) -> None:
    store = await shared_store(tmp_path)
    one, two = (OwnKey(store, tmp_path / name / "cairn.key") for name in ("one", "two"))
    assert await one.file() is None
    line = await one.public()
    assert await two.public() == line
    assert await two.file() == two.path
    assert two.path.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in two.path.parent.iterdir()] == ["cairn.key"]
    assert two.path.read_bytes().splitlines()[1] not in (tmp_path / "shared.db").read_bytes()


async def test_two_nodes_that_need_it_first_have_the_same_one(tmp_path: Path) -> None:
    keys = [OwnKey(await shared_store(tmp_path), tmp_path / name / "cairn.key") for name in ("one", "two")]
    one, two = await asyncio.gather(*(key.public() for key in keys))
    assert one == two


async def test_a_copy_that_is_damaged_or_open_to_others_is_made_anew(tmp_path: Path) -> None:
    key = OwnKey(await shared_store(tmp_path), tmp_path / "keys" / "cairn.key")
    line = await key.public()
    for damage in (lambda: key.path.write_text("nonsense"), lambda: key.path.chmod(0o644), key.path.unlink):
        damage()
        assert await key.public() == line
        assert key.path.stat().st_mode & 0o777 == 0o600


async def test_ssh_takes_it_for_the_pair_that_it_is(tmp_path: Path) -> None:
    key = OwnKey(await shared_store(tmp_path), tmp_path / "keys" / "cairn.key")
    line = await key.public()
    shown = subprocess.run(["ssh-keygen", "-y", "-f", str(key.path)], check=True, capture_output=True, text=True).stdout  # noqa: ASYNC221 (a test)
    assert shown.split()[:2] == line.split()[1:3]
    assert line.startswith("restrict ssh-ed25519 ")
