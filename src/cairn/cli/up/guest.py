"""The guest image of ``cairn up``: built where it is missing, and handed to the backup server over HTTP.

The backup server runs on a lab host, which sees nothing of this machine's files; so for the time of the download a small
server on the machine's lab address offers this one file and nothing else.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cairn
from cairn.cli.errors import refused

_NAME = "guest.qcow2"
_BUILD_SECONDS = 600


def image_file(data_dir: Path) -> Path:
    """Where the built image is kept."""
    return data_dir / "images" / _NAME


def builder() -> Path:
    """The program that builds the image, in cairn's source tree."""
    return Path(cairn.__file__).resolve().parents[2] / "tools" / "guest_image" / "build.py"


def ensure_image(data_dir: Path, given: Path | None) -> Path:
    """The image: the given file, or the one in the data folder, built if it is missing.

    Raises:
        CliError: exit code 1 when there is neither an image nor a way to build one.
    """
    if given is not None:
        if not given.is_file():
            raise refused(f"There is no image {given}. Give the path of a qcow2 file.", code="up.no-image")
        return given.resolve()
    path = image_file(data_dir)
    if path.is_file():
        return path
    program = builder()
    if not program.is_file():
        raise refused(
            "This cairn was not installed from a source tree, so there is no tool to build the guest image with. "
            "Give a bootable qcow2 file that takes its address by DHCP: cairn up --image FILE",
            code="up.no-image-builder",
        )
    done = subprocess.run(
        [sys.executable, str(program), "--output", str(path)],
        capture_output=True,
        text=True,
        timeout=_BUILD_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise refused(
            f"The guest image could not be built: {said}. Mend that, or give an image: cairn up --image FILE",
            code="up.image-build-failed",
        )
    return path


@contextmanager
def offered(image: Path, address: str) -> Iterator[str]:
    """The URL of `image` on this machine's `address`, for as long as the block runs."""
    server = ThreadingHTTPServer((address, 0), _handler(image))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="guest image", daemon=True)
    thread.start()
    try:
        yield f"http://{address}:{server.server_port}/{_NAME}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(image: Path) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Serves the image at one path; every other path is 404."""

        def do_HEAD(self) -> None:
            """Answer how large the image is."""
            self._begin()

        def do_GET(self) -> None:
            """Send the image file."""
            if self._begin():
                with image.open("rb") as file:
                    shutil.copyfileobj(file, self.wfile)

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing: the steps of ``cairn up`` tell what happens."""

        def _begin(self) -> bool:
            if self.path != f"/{_NAME}":
                self.send_error(HTTPStatus.NOT_FOUND)
                return False
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(image.stat().st_size))
            self.end_headers()
            return True

    return Handler
