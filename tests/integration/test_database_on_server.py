"""A cloud's database moves from a file to a server, and back."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from cairn.cli.main import run
from cairn.kernel.store.mariadb import MariadbDriver
from cairn.testing.mariadb import shared_server

Move = Callable[[str, str], None]
ZONE = (
    "INSERT INTO zone (uuid, name, state, type, is_default, create_date, last_op_date) "
    "VALUES ('z', 'zöne', 'Enabled', 'zstack', 0, 1, 1)"
)


@pytest.fixture
def move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Move:
    """Has the commands work in a data folder, with a database; the folders share a key."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def to(folder: str, database: str) -> None:
        (tmp_path / folder).mkdir()
        monkeypatch.setenv("CAIRN_DATA_DIR", str(tmp_path / folder))
        monkeypatch.setenv("CAIRN_DATABASE", database)
        if (tmp_path / "a" / "secret.key").exists():
            shutil.copy(tmp_path / "a" / "secret.key", tmp_path / folder / "secret.key")

    return to


def test_a_database_moves_to_a_server_and_back(tmp_path: Path, move: Move, capsys: pytest.CaptureFixture[str]) -> None:
    server = shared_server()
    name = server.create()
    move("a", "")
    assert run(["db", "upgrade"]) == 0
    with closing(sqlite3.connect(tmp_path / "a" / "cairn.db", isolation_level=None)) as connection:
        connection.execute(ZONE)
        connection.execute("INSERT INTO resource (uuid, type, name, create_date) VALUES ('z', 'Zone', 'zöne', 1)")
        connection.execute("INSERT INTO event (name, content, create_date) VALUES ('a', '{}', 1), ('b', '{}', 1)")
        connection.execute("DELETE FROM event WHERE sequence = 2")
    assert run(["db", "dump", str(tmp_path / "file.gz")]) == 0

    move("b", server.url(name))
    assert run(["db", "restore", str(tmp_path / "file.gz")]) == 0
    assert run(["db", "check"]) == 0
    assert run(["db", "restore", str(tmp_path / "file.gz")]) == 1
    assert "dump.not-empty" in capsys.readouterr().err
    assert run(["db", "restore", str(tmp_path / "file.gz"), "--force"]) == 0
    with closing(MariadbDriver(server.address(name)).connect(read_only=False)) as there:
        there.begin()
        there.execute("INSERT INTO event (name, content, create_date) VALUES (?, ?, ?)", ("c", "{}", 1))
        there.commit()
    assert run(["db", "dump", str(tmp_path / "server.gz")]) == 0

    move("c", "")
    assert run(["db", "restore", str(tmp_path / "server.gz")]) == 0
    assert run(["db", "check"]) == 0
    with closing(sqlite3.connect(tmp_path / "c" / "cairn.db")) as connection:
        assert connection.execute("SELECT name FROM zone").fetchall() == [("zöne",)]
        assert connection.execute("SELECT sequence FROM event ORDER BY sequence").fetchall() == [(1,), (3,)]
