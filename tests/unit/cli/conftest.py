"""A command line at a node that plays its part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec import Struct
from tests.unit.cli.fakes import FakeNode, served

from cairn.cli.client import Client
from cairn.cli.http import HttpClient
from cairn.cli.main import run
from cairn.cli.session import Credentials, SessionStore


class Ran(Struct, frozen=True):
    """How a command line ended."""

    code: int
    out: str
    err: str


Cli = Callable[..., Ran]


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with served(FakeNode()) as node:
        yield node


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders of the test's own; the password as a node on this machine keeps it."""
    for name in ("CAIRN_URL", "CAIRN_PASSWORD", "CAIRN_ACCOUNT", "CAIRN_LAB_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CAIRN_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "admin-password").write_text("secret\n")
    return tmp_path


@pytest.fixture
def cli(node: FakeNode, environment: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs a command line at the node."""

    def call(*words: str) -> Ran:
        capsys.readouterr()
        code = run(["--url", node.url, *words])
        told = capsys.readouterr()
        return Ran(code, told.out, told.err)

    return call


@pytest.fixture
def client(node: FakeNode, environment: Path) -> Client:
    """A client of the node."""
    sessions = SessionStore(environment / "config" / "session.json")
    return Client(HttpClient(node.url), sessions, Credentials(environment / "data", {}))
