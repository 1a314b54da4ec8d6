from __future__ import annotations

import socket
from pathlib import Path

import pytest

from cairn.cli.errors import CliError
from cairn.cli.up import programs
from cairn.cli.up.programs import answers, free_port, is_free, program, require


def test_programs_are_found_in_the_path_and_among_those_of_administrators(tmp_path: Path) -> None:
    own = tmp_path / "own-program"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    assert program("own-program", {"PATH": str(tmp_path)}) == str(own)
    assert program("own-program", {"PATH": "/nowhere"}) is None
    assert program("ldconfig", {"PATH": "/nowhere"}) is not None


def test_missing_programs_are_named_with_the_packages_to_install(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="apt-get install one two ") as caught:
        require({"no-such-a": "two", "no-such-b": "one", "sh": "dash"}, {"PATH": "/bin"})
    assert caught.value.problem.code == "up.missing-program"
    assert "no-such-a, no-such-b" in caught.value.problem.detail
    require({"sh": "dash"}, {"PATH": "/bin"})


def test_missing_client_of_the_database_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "mariadbd").write_text("#!/bin/sh\n")
    (tmp_path / "mariadbd").chmod(0o755)
    monkeypatch.setattr(programs, "find_spec", lambda name: None)
    with pytest.raises(CliError, match="mysqlclient"):
        require({"mariadbd": "mariadb-server"}, {"PATH": str(tmp_path)})


def test_a_port_is_free_at_all_addresses_and_is_given_once() -> None:
    first = free_port(set())
    with socket.create_server(("127.0.0.2", first)):
        assert not is_free("127.0.0.2", first)
        assert answers(socket.AF_INET, ("127.0.0.2", first))
        assert not answers(socket.AF_INET, ("127.0.0.1", first))
        second = free_port(set(), ["127.0.0.1", "127.0.0.2"])
    assert second != first
    assert free_port({first, second}) not in (first, second)


def test_no_free_port_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "is_free", lambda address, port: False)
    with pytest.raises(CliError, match="No port from"):
        free_port(set())
