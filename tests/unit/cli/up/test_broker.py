from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cairn.cli.up import broker as module
from cairn.cli.up.broker import BrokerPorts, BrokerProcess
from cairn.cli.up.programs import free_port
from cairn.kernel.bus.broker import parse_broker

_SERVER = f"""#!{sys.executable}
import os, pathlib, re, signal, socket
words = pathlib.Path(os.environ["RABBITMQ_CONFIG_FILE"]).read_text()
server = socket.create_server(("127.0.0.1", int(re.search("listeners.tcp.1 = 127.0.0.1:([0-9]+)", words)[1])))
signal.pause()
"""


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BrokerProcess]:
    """A program that plays RabbitMQ."""
    server = tmp_path / "rabbitmq-server"
    server.write_text(_SERVER)
    server.chmod(0o755)
    monkeypatch.setattr(module, "RABBITMQ", server)
    ports = BrokerPorts(broker=free_port(set()), names=1, distribution=2)
    made = BrokerProcess(tmp_path / "data", ports, {})
    yield made
    made.daemon.stop(0)


def test_broker_is_started_unless_it_runs_and_keeps_its_password(broker: BrokerProcess) -> None:
    assert not broker.is_ready()
    assert broker.begin()
    broker.finish()
    assert broker.is_ready()
    password = broker.password_file.read_text()
    assert not broker.begin()
    broker.daemon.stop(0)
    assert broker.begin()
    assert broker.password_file.read_text() == password
    assert len(password) == 40


def test_its_secrets_are_in_files_that_nobody_else_reads_and_in_no_address(broker: BrokerProcess) -> None:
    broker.begin()
    password = broker.password_file.read_text()
    for file in ("password", "rabbitmq.conf", "home/.erlang.cookie"):
        assert (broker.folder / file).stat().st_mode & 0o077 == 0
    assert password not in broker.url
    assert password not in str(broker.variables())
    assert f"default_pass = {password}\n" in (broker.folder / "rabbitmq.conf").read_text()
    assert parse_broker(broker.url, str(broker.password_file)).url("x").count(password) == 1


def test_all_its_parts_listen_on_this_machine_only(broker: BrokerProcess) -> None:
    broker.begin()
    text = (broker.folder / "rabbitmq.conf").read_text()
    assert "distribution.listener.interface = 127.0.0.1" in text
    variables = broker.variables()
    assert (variables["ERL_EPMD_ADDRESS"], variables["ERL_EPMD_PORT"]) == ("127.0.0.1", "1")
    assert variables["RABBITMQ_DIST_PORT"] == "2"
