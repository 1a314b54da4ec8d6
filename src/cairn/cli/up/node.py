"""The management nodes that ``cairn up`` starts in the background."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from cairn.cli.errors import CliError
from cairn.cli.http import HttpClient
from cairn.cli.up.daemon import Daemon
from cairn.cli.up.report import Report
from cairn.kernel.readiness import Readiness

_READY_SECONDS = 60.0
AGENT_PORT = 8443


class Management(Protocol):
    """What answers the API: one node, or several behind one address."""

    url: str

    def up(self, report: Report, inside: str = "") -> None:
        """Start what does not run of it. `inside`: as in `NodeProcess.ensure`."""


class NodeProcess:
    """The node of a data folder.

    Args:
        data_dir: of the node.
        url: where it is reached; it listens there.
        environment: it runs with this, and settings of `ensure`.
        daemon: its program; None: it is the only one of its folder.
        agent_port: where agents report.
    """

    def __init__(
        self,
        data_dir: Path,
        url: str,
        environment: Mapping[str, str],
        *,
        daemon: Daemon | None = None,
        agent_port: int = AGENT_PORT,
    ) -> None:
        self.daemon = daemon or Daemon("node", data_dir)
        self.url = url
        self._data_dir = data_dir
        self._environment = environment
        self._agent_port = agent_port

    def up(self, report: Report, inside: str = "") -> None:
        """Start the node unless one answers. `inside`, errors: as in `ensure`."""
        with report.step("start the management node"):
            started = self.ensure(inside)
            report.note(f"{self.url} ({'started' if started else 'runs already'})")

    def is_ready(self) -> bool:
        """Whether a node takes calls at the URL, whoever started it."""
        found = self.readiness()
        return found is not None and found.ready

    def readiness(self) -> Readiness | None:
        """What the node at the URL says of itself, whoever started it; None when nothing answers."""
        http = HttpClient(self.url)
        try:
            answer = http.request("GET", "/readyz", timeout_seconds=5)
            found = msgspec.json.decode(answer.body, type=Readiness)
        except CliError:
            return None
        except msgspec.MsgspecError:
            return Readiness(reasons=["it answers /readyz with something that is no JSON"])
        finally:
            http.close()
        return found if found.ready == (answer.status == 200) else Readiness(reasons=[f"status {answer.status}"])

    def ensure(self, inside: str = "") -> bool:
        """Start the node unless one answers. Returns whether it was started.

        Args:
            inside: an address of this machine that hosts reach: agents report there, and the API listens there, too.

        Raises:
            CliError: exit code 1 with the end of its log when it does not come up.
        """
        started = self.begin(inside)
        if started or not self.is_ready():
            self.finish()
        return started

    def begin(self, inside: str = "") -> bool:
        """Start the node unless it runs, or one answers, and do not wait. Returns whether it was started."""
        if self.is_ready() or self.daemon.running() is not None:
            return False
        command = [sys.executable, "-m", "cairn.cli.main", "serve"]
        self.daemon.start(command, {**self._environment, **self._settings(inside)}, self.url)
        return True

    def finish(self) -> None:
        """Wait until it takes calls (exit code 1 with the end of its log when it does not come up)."""
        self.daemon.await_ready(self.is_ready, _READY_SECONDS)

    def _settings(self, inside: str) -> dict[str, str]:
        parts = urlsplit(self.url)
        port = parts.port or 80
        listen = [f"{parts.hostname}:{port}"]
        settings = {"CAIRN_DATA_DIR": str(self._data_dir)}
        if inside:
            listen.append(f"{inside}:{port}")
            settings["CAIRN_AGENT_LISTEN"] = f"{inside}:{self._agent_port}"
        return {**settings, "CAIRN_LISTEN": ",".join(listen)}
