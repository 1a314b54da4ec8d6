from __future__ import annotations

import getpass
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests import ports

from cairn.kernel.deploy.ssh import SshTarget


class Sshd(NamedTuple):
    """A real sshd on loopback that lets the running user in with one key, and nobody with a password."""

    target: SshTarget
    folder: Path

    @property
    def host_key(self) -> str:
        return (self.folder / "host.pub").read_text().split()[1]


def _key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


@pytest.fixture
def free_port() -> int:
    return ports.free_port()


@pytest.fixture
def start_sshd(tmp_path: Path, free_port: int) -> Iterator[Callable[[int], Sshd]]:
    """Starts an sshd with a fresh host key on the given port; 0 chooses a free one."""
    program = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin") or pytest.skip("sshd is not installed")
    running: list[subprocess.Popen[bytes]] = []

    def start(port: int = 0) -> Sshd:
        folder = tmp_path / f"sshd{len(running)}"
        folder.mkdir()
        while running and running[-1].poll() is None:
            running[-1].terminate()
            running[-1].wait()
        _key(folder / "host")
        _key(folder / "user")
        port = port or free_port
        config = folder / "config"
        config.write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {folder}/user.pub\nStrictModes no\nPermitRootLogin yes\nPasswordAuthentication yes\n"
        )
        Path("/run/sshd").mkdir(exist_ok=True)
        running.append(subprocess.Popen([program, "-D", "-e", "-f", str(config)], stderr=subprocess.PIPE))
        stream = running[-1].stderr
        assert stream is not None
        for line in stream:
            if b"listening" in line:
                break
        key = folder / "user"
        target = SshTarget(host="127.0.0.1", port=port, username=getpass.getuser(), private_key_path=key)
        return Sshd(target, folder)

    yield start
    for process in running:
        process.terminate()
        process.communicate()


@pytest.fixture
def sshd(start_sshd: Callable[[int], Sshd]) -> Sshd:
    return start_sshd(0)
