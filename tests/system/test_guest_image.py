"""The guest image boots, learns who it is, answers, keeps its disk, and goes down when asked to."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from cairn.lab.machine import wait_until

pytestmark = pytest.mark.lab

BUILD = Path(__file__).parents[2] / "tools/guest_image/build.py"
BOOT_SECONDS = 90
#: Stands in for the metadata service: answers one HTTP request on its standard streams.
METADATA = """\
#!/bin/sh
read -r method path protocol
case $path in
*/meta-data/local-hostname) body=web-7 ;;
*/user-data) body='#!/bin/bash
echo "user data on $(hostname)"' ;;
*) printf 'HTTP/1.0 404 Not Found\\r\\n\\r\\n'; exit ;;
esac
printf 'HTTP/1.0 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%s' "${#body}" "$body"
"""


class Guest:
    """A virtual machine with user-mode networking; its port 80 is at ``port`` of the machine's loopback."""

    def __init__(self, disk: Path, folder: Path) -> None:
        self.console_log = folder / "console.log"
        metadata = folder / "metadata.sh"
        metadata.write_text(METADATA)
        metadata.chmod(0o755)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        network = (
            f"user,id=n,net=169.254.0.0/16,dhcpstart=169.254.1.15,hostname=by-dhcp,hostfwd=tcp:127.0.0.1:{self.port}-:80"
            f",guestfwd=tcp:169.254.169.254:80-cmd:{metadata}"
        )
        self._monitor = folder / "monitor"
        self.process = subprocess.Popen(
            [
                "qemu-system-x86_64", "-accel", "tcg", "-m", "128", "-display", "none",
                "-chardev", f"file,id=c,path={self.console_log}", "-serial", "chardev:c",
                "-monitor", f"unix:{self._monitor},server,nowait",
                "-drive", f"file={disk},if=virtio,format=qcow2",
                "-netdev", network, "-device", "virtio-net-pci,netdev=n",
            ]
        )  # fmt: skip

    def wait_for(self, text: str, times: int = 1) -> str:
        wait_until(
            lambda: self.console_log.exists() and self.console().count(text) >= times,
            f"the console shows {text!r}",
            timeout_seconds=BOOT_SECONDS,
        )
        return self.console()

    def console(self) -> str:
        return self.console_log.read_text(errors="replace").replace("\r", "")

    def monitor(self, command: str) -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(BOOT_SECONDS)
            connection.connect(os.fspath(self._monitor))
            _read_prompt(connection)
            connection.sendall(f"{command}\n".encode())
            # The prompt comes back once the command is done; a line that ends before is not carried out.
            _read_prompt(connection)


def _read_prompt(connection: socket.socket) -> None:
    seen = b""
    while not seen.endswith(b"(qemu) "):
        part = connection.recv(1000)
        assert part, f"the monitor hung up after {seen!r}"
        seen += part


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("image") / "guest.qcow2"
    subprocess.run([sys.executable, BUILD, "--output", output], check=True)
    return output


@pytest.fixture
def guest(image: Path, tmp_path: Path) -> Iterator[Guest]:
    disk = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", image, "-F", "qcow2", disk], check=True)
    guest = Guest(disk, tmp_path)
    yield guest
    guest.process.kill()
    guest.process.wait()


def test_image_is_small(image: Path) -> None:
    assert image.stat().st_size < 15_000_000


def test_guest_lives_through_boot_reset_and_power_button(guest: Guest) -> None:
    shown = guest.wait_for("cairn guest: user data ended with 0")
    for line in ("host name: web-7\n", "address:   169.254.1.15\n", "boots:     1\n", "cairn guest ready\n"):
        assert line in shown
    assert "user data on web-7\n" in shown
    with urlopen(f"http://127.0.0.1:{guest.port}/", timeout=30) as answer:
        assert answer.read() == b"web-7 169.254.1.15\n"

    guest.monitor("system_reset")
    assert "boots:     2\n" in guest.wait_for("cairn guest ready", times=2)

    guest.monitor("system_powerdown")
    assert guest.process.wait(timeout=BOOT_SECONDS) == 0
    assert "cairn guest: web-7 goes down" in guest.console()
