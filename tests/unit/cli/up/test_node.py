from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.unit.cli.fakes import FakeNode, served

from cairn.cli.errors import CliError
from cairn.cli.up.daemon import Daemon
from cairn.cli.up.node import NodeProcess


def test_node_that_answers_is_used_whoever_started_it(tmp_path: Path) -> None:
    with served(FakeNode()) as fake:
        node = NodeProcess(tmp_path, fake.url, {})
        assert node.is_ready()
        assert not node.ensure()
    assert not node.is_ready()
    assert Daemon("node", tmp_path).running() is None


def test_node_that_cannot_start_is_told_with_its_log(tmp_path: Path) -> None:
    (tmp_path / "cairn.db").write_text("this is no database" * 100)
    node = NodeProcess(tmp_path, "http://127.0.0.1:9", os.environ)
    with pytest.raises(CliError, match="The node has ended"):
        node.ensure()


def test_settings_make_the_node_listen_for_hosts_too(tmp_path: Path) -> None:
    settings = NodeProcess(tmp_path, "http://127.0.0.1:8080", {})._settings("198.18.0.1")
    assert settings["CAIRN_LISTEN"] == "127.0.0.1:8080,198.18.0.1:8080"
    assert settings["CAIRN_AGENT_LISTEN"] == "198.18.0.1:8443"
    assert settings["CAIRN_DATA_DIR"] == str(tmp_path)
