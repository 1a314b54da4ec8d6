"""The RabbitMQ server that ``cairn up --nodes`` starts: in the data folder, on ports of this machine that only it reaches.

Nothing in it has to be kept, so it is killed to be ended. The names of Erlang's nodes (epmd) are kept by a server of its own,
too, which goes with it.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from cairn.cli.up.daemon import Daemon
from cairn.cli.up.programs import RABBITMQ, answers

_READY_SECONDS = 120.0
_USER = _VHOST = "cairn"
_ADDRESS = "127.0.0.1"
#: its schedulers sleep when there is nothing to do: the machine is for others, too
_ERLANG = "+sbwt none +sbwtdcpu none +sbwtdio none"


class BrokerPorts(Struct, frozen=True, kw_only=True):
    """Where its parts listen on this machine."""

    broker: int
    names: int  #: of epmd
    distribution: int  #: for rabbitmqctl


class BrokerProcess:
    """The broker of a data folder.

    Args:
        data_dir: it keeps everything in ``rabbitmq`` there.
        ports: where it listens.
        environment: its PATH is taken from this.
    """

    def __init__(self, data_dir: Path, ports: BrokerPorts, environment: Mapping[str, str]) -> None:
        self.daemon = Daemon("broker", data_dir)
        self.folder = data_dir / "rabbitmq"
        self._ports = ports
        self._path = environment.get("PATH", os.defpath)
        #: for the settings ``broker`` and ``broker_password_file``
        self.url = f"amqp://{_USER}@{_ADDRESS}:{ports.broker}/{_VHOST}?heartbeat=2"
        self.password_file = self.folder / "password"

    def is_ready(self) -> bool:
        """Whether it takes connections."""
        return answers(socket.AF_INET, (_ADDRESS, self._ports.broker))

    def begin(self) -> bool:
        """Start it unless it runs, and do not wait. Returns whether it was started."""
        if self.daemon.running() is not None:
            return False
        (self.folder / "home").mkdir(mode=0o700, parents=True, exist_ok=True)
        for file in (self.password_file, self.folder / "home" / ".erlang.cookie"):
            if not file.exists():
                _write(file, secrets.token_hex(20))
        _write(self.folder / "rabbitmq.conf", self._configuration())
        _write(self.folder / "plugins", "[].\n")
        self.daemon.start([str(RABBITMQ)], self.variables(), self.url)
        return True

    def finish(self) -> None:
        """Wait until it takes connections (exit code 1 with the end of its log)."""
        self.daemon.await_ready(self.is_ready, _READY_SECONDS)

    def variables(self) -> dict[str, str]:
        """The environment of the server, and of ``rabbitmqctl``."""
        folder, ports = self.folder, self._ports
        return {
            "PATH": self._path,
            "HOME": str(folder / "home"),
            "RABBITMQ_NODENAME": f"cairn-{ports.broker}@localhost",
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_DIST_PORT": str(ports.distribution),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ERLANG,
            "ERL_EPMD_PORT": str(ports.names),
            "ERL_EPMD_ADDRESS": _ADDRESS,
        }

    def _configuration(self) -> str:
        lines = [
            f"listeners.tcp.1 = {_ADDRESS}:{self._ports.broker}",
            f"distribution.listener.interface = {_ADDRESS}",
            f"default_user = {_USER}",
            f"default_pass = {self.password_file.read_text(encoding='ascii')}",
            f"default_vhost = {_VHOST}",
        ]
        return "\n".join(lines) + "\n"


def _write(file: Path, text: str) -> None:
    """Write a file that nobody else reads."""
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)
