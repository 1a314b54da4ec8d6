from __future__ import annotations

import json
from pathlib import Path

from tests.unit.cli.conftest import Cli

from cairn.cli.errors import Exit
from cairn.kernel.store.sealing import open_seals


def test_rotate_puts_a_new_key_first(cli: Cli, environment: Path) -> None:
    folder = environment / "data"
    file = folder / "secret.key"
    old = open_seals(file, folder / "cairn.db").current.id
    ran = cli("secrets", "rotate", "--json")
    assert ran.code == Exit.OK
    seals = open_seals(file, folder / "cairn.db")
    assert seals.current.id == json.loads(ran.out)["key"] != old
    assert seals.knows(old)


def test_without_a_key_file_there_is_nothing_to_rotate(cli: Cli, environment: Path) -> None:
    ran = cli("secrets", "rotate")
    assert ran.code != Exit.OK
    assert "secret.key" in ran.err
