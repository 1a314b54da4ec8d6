"""The MariaDB server that ``cairn up --nodes`` starts: in the data folder, with a socket there and no port.

The folder's mode keeps everybody else from the socket, so the account that nodes use needs no password.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from cairn.cli.errors import refused
from cairn.cli.up.daemon import Daemon
from cairn.cli.up.programs import answers, program

_READY_SECONDS = 60.0
_LONGEST_SOCKET = 107  # bytes of a path that the kernel takes
_NAME = "cairn"
_CONFIG = """[mariadbd]
datadir={folder}/data
socket={folder}/socket
pid-file={folder}/pid
init-file={folder}/first.sql
skip-networking
skip-log-bin
skip-name-resolve
innodb_buffer_pool_size=128M
innodb_log_file_size=96M
performance_schema=OFF
max_connections=500
table_open_cache=4000
"""


class DatabaseProcess:
    """The server of a data folder. What was committed is on the disk, as in production.

    Args:
        data_dir: it keeps everything in ``mariadb`` there.
        environment: it runs with this.
    """

    def __init__(self, data_dir: Path, environment: Mapping[str, str]) -> None:
        self.daemon = Daemon("database", data_dir)
        self.folder = data_dir / "mariadb"
        self._socket = self.folder / "socket"
        self._environment = environment
        #: for the setting ``database``
        self.url = f"mysql://root@/{_NAME}?unix_socket={quote(str(self._socket))}"

    def is_ready(self) -> bool:
        """Whether it takes connections."""
        return answers(socket.AF_UNIX, str(self._socket))

    def begin(self) -> bool:
        """Start it unless it runs, and do not wait. Returns whether it was started (exit code 1 if it cannot be)."""
        if self.daemon.running() is not None:
            return False
        if len(os.fsencode(self._socket)) > _LONGEST_SOCKET:
            raise refused(
                f"The path of the database's socket is too long: {self._socket} has {len(os.fsencode(self._socket))} bytes, and "
                f"{_LONGEST_SOCKET} would fit. Choose a data folder with a shorter path (--data-dir).",
                code="up.path-too-long",
            )
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.daemon.stop(0)  # an `up` that was killed may have left what installs it at work
        self._install()
        (self.folder / "my.cnf").write_text(_CONFIG.format(folder=self.folder) + _user("user={}\n"))
        (self.folder / "first.sql").write_text(f"CREATE DATABASE IF NOT EXISTS {_NAME} CHARACTER SET utf8mb4;\n")
        command = [str(program("mariadbd", self._environment)), f"--defaults-file={self.folder / 'my.cnf'}"]
        self.daemon.start(command, self._environment, self.url)
        return True

    def finish(self) -> None:
        """Wait until it takes connections (exit code 1 with the end of its log)."""
        self.daemon.await_ready(self.is_ready, _READY_SECONDS)

    def _install(self) -> None:
        """Make its first tables: aside, so that a folder is never taken for whole which is not."""
        data, new = self.folder / "data", self.folder / "new"
        if data.exists():
            return
        shutil.rmtree(new, ignore_errors=True)
        command = [str(program("mariadb-install-db", self._environment)), "--no-defaults", f"--datadir={new}"]
        command += ["--skip-test-db", "--auth-root-authentication-method=normal", *_user("--user={}").split()]
        done = subprocess.run(
            command, env=self.daemon.marked(self._environment), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise refused(
                f"mariadb-install-db failed in {new}:\n{(done.stderr or done.stdout)[-2000:]}",
                code="up.database-failed",
            )
        new.rename(data)


def _user(text: str) -> str:
    """What tells the server that it may run as root, where it does."""
    return text.format("root") if os.geteuid() == 0 else ""
