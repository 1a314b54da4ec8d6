"""A management node as a process of its own, that can be killed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tests.ports import free_port
from tests.system.api import Api, eventually

PASSWORD = "a password for tests"
START_SECONDS = 30


class NodeProcess:
    """``cairn serve`` in a data folder of its own.

    Args:
        folder: of the node's data and log.
        agent_address: where hosts reach this machine.
        wheels: folder of the wheels that agents are installed from.
        more: of its environment.
    """

    def __init__(self, folder: Path, agent_address: str, wheels: Path, more: Mapping[str, str] | None = None) -> None:
        self.data = folder / "data"
        self.log = folder / "node.log"
        self.port = free_port("127.0.0.1")
        self.agent_port = free_port(agent_address)
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CAIRN_")},
            "CAIRN_DATA_DIR": str(self.data),
            "CAIRN_LISTEN": f"127.0.0.1:{self.port}",
            "CAIRN_AGENT_LISTEN": f"{agent_address}:{self.agent_port}",
            "CAIRN_ADMIN_PASSWORD": PASSWORD,
            "CAIRN_WHEELS_DIR": str(wheels),
            "CAIRN_LOG_LEVEL": "debug",
            **(more or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.api = Api(self.port)

    @property
    def id(self) -> str:
        """The node's id, kept in its data folder."""
        return (self.data / "node-id").read_text(encoding="ascii").strip()

    def start(self) -> None:
        """Start it and wait until it takes calls; sessions of a former life go on."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cairn.cli.main", "serve"],
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        eventually(self._ready, "the node is ready", seconds=START_SECONDS)

    def kill(self) -> None:
        """``kill -9``."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    @property
    def killed(self) -> bool:
        """Whether it ended by SIGKILL."""
        return self._process is not None and self._process.poll() == -signal.SIGKILL

    def end(self) -> None:
        """End it, with whatever it started, however it stands. Safe to repeat."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=30)

    def last_words(self, lines: int = 60) -> str:
        """The end of its log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"the node ended with {self._process.returncode}:\n{self.last_words()}")
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
