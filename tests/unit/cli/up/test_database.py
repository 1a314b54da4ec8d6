from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cairn.cli.errors import CliError
from cairn.cli.up.database import DatabaseProcess
from cairn.kernel.store.address import ServerAddress, database_at

_INSTALL = """#!/bin/sh
for word; do case $word in --datadir=*) mkdir -p "${word#--datadir=}"; echo tables > "${word#--datadir=}/tables";; esac; done
"""
_SERVER = f"""#!{sys.executable}
import pathlib, re, signal, socket, sys
words = pathlib.Path(sys.argv[1].partition("=")[2]).read_text()
server = socket.socket(socket.AF_UNIX)
server.bind(re.search("^socket=(.*)$", words, re.M)[1])
server.listen()
signal.pause()
"""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[DatabaseProcess]:
    """Programs that play those of MariaDB."""
    for name, text in (("mariadb-install-db", _INSTALL), ("mariadbd", _SERVER)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    made = DatabaseProcess(tmp_path / "data", {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    yield made
    made.daemon.stop(0)


def test_server_is_installed_once_and_started_unless_it_runs(database: DatabaseProcess) -> None:
    assert not database.is_ready()
    assert database.begin()
    database.finish()
    assert database.is_ready()
    assert not database.begin()
    assert (database.folder.stat().st_mode & 0o777) == 0o700
    assert "CREATE DATABASE IF NOT EXISTS" in (database.folder / "first.sql").read_text()
    (database.folder / "data" / "tables").write_text("kept")
    database.daemon.stop(0)
    (database.folder / "socket").unlink()
    assert database.begin()
    assert (database.folder / "data" / "tables").read_text() == "kept"


def test_folder_that_was_left_half_made_is_made_anew(database: DatabaseProcess) -> None:
    half = database.folder / "new"
    half.mkdir(parents=True)
    (half / "half").write_text("")
    database.begin()
    assert sorted(path.name for path in (database.folder / "data").iterdir()) == ["tables"]


def test_setting_of_nodes_leads_to_its_socket(database: DatabaseProcess) -> None:
    address = database_at(database.url)
    assert isinstance(address, ServerAddress)
    assert (address.socket, address.user, address.database) == (str(database.folder / "socket"), "root", "cairn")


def test_failed_installation_is_told(database: DatabaseProcess, tmp_path: Path) -> None:
    (tmp_path / "mariadb-install-db").write_text("#!/bin/sh\necho no room >&2\nexit 1\n")
    with pytest.raises(CliError, match="no room"):
        database.begin()


def test_folder_with_too_long_a_path_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    with pytest.raises(CliError, match="shorter path") as caught:
        DatabaseProcess(folder, os.environ).begin()
    assert caught.value.problem.code == "up.path-too-long"
    assert not folder.exists()
