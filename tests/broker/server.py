"""RabbitMQ for tests: on ports of its own, in a folder of its own, gone afterwards with all that it started."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

from tests.ports import free_port

#: not those of /usr/sbin, which would change the user
PROGRAMS = Path("/usr/lib/rabbitmq/bin")
USER, PASSWORD, VHOST = "cairn", "not-a-secret", "cloud"
START_SECONDS = 120


class RabbitServer:
    """A broker that can be killed, held, and started again.

    Args:
        folder: of all that it writes.
        certificates: a folder with ``ca.crt``, ``node.crt`` and ``node.key``, for TLS on a second port.
    """

    def __init__(self, folder: Path, certificates: Path | None = None) -> None:
        self._folder = folder
        self.port = free_port()
        self.tls_port = free_port() if certificates is not None else 0
        self._names = free_port()  # of epmd
        self._distribution = free_port()
        (folder / "home").mkdir(parents=True)
        cookie = folder / "home" / ".erlang.cookie"
        cookie.write_text("a-cookie-for-tests", encoding="ascii")
        cookie.chmod(0o400)
        (folder / "plugins").write_text("[].\n", encoding="ascii")
        (folder / "rabbitmq.conf").write_text(self._configuration(certificates), encoding="ascii")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """As the setting ``broker`` takes it; a broker that is silent for a few seconds is given up."""
        return f"amqp://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{VHOST}?heartbeat=1"

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        with (self._folder / "out").open("ab") as out:
            self._process = subprocess.Popen(
                [PROGRAMS / "rabbitmq-server"],
                env=self._environment(),
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        for _ in range(START_SECONDS * 10):
            if self._process.poll() is not None:
                break
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5):
                return
            threading.Event().wait(0.1)
        raise AssertionError((self._folder / "out").read_text(encoding="utf-8")[-2000:])

    def kill(self) -> None:
        """End it at once, as a crash does; also one that is held. Safe to repeat."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(30)
        self._process = None
        for _ in range(100):  # it refuses while the name of the dead one is still there
            ended = subprocess.run(["epmd", "-port", str(self._names), "-kill"], capture_output=True, check=False)
            if b"living nodes" not in ended.stdout + ended.stderr:
                return
            threading.Event().wait(0.1)

    def control(self, *words: str) -> str:
        """What ``rabbitmqctl`` says."""
        program, node = str(PROGRAMS / "rabbitmqctl"), self._environment()["RABBITMQ_NODENAME"]
        tables = ["--no-table-headers"] if words[0].startswith("list_") else []
        command = [program, "--quiet", "--node", node, *words, *tables]
        done = subprocess.run(command, env=self._environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return str(done.stdout)

    def hold(self) -> None:
        """From now on it neither answers nor ends: a machine that hangs."""
        self._signal(signal.SIGSTOP)

    def release(self) -> None:
        """Undo `hold`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def _environment(self) -> dict[str, str]:
        folder = self._folder
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(folder / "home"),
            "RABBITMQ_NODENAME": f"test-{self.port}@localhost",
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "ERL_EPMD_PORT": str(self._names),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }

    def _configuration(self, certificates: Path | None) -> str:
        lines = [
            f"listeners.tcp.1 = 127.0.0.1:{self.port}",
            f"default_user = {USER}",
            f"default_pass = {PASSWORD}",
            f"default_vhost = {VHOST}",
        ]
        if certificates is not None:
            lines += [
                f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}",
                f"ssl_options.cacertfile = {certificates / 'ca.crt'}",
                f"ssl_options.certfile = {certificates / 'node.crt'}",
                f"ssl_options.keyfile = {certificates / 'node.key'}",
                "ssl_options.versions.1 = tlsv1.3",
                "ssl_options.versions.2 = tlsv1.2",
            ]
        return "\n".join(lines) + "\n"


def installed() -> bool:
    """Whether there is a RabbitMQ on this machine."""
    return (PROGRAMS / "rabbitmq-server").exists() and shutil.which("epmd") is not None
