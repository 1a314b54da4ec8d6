"""The servers at 169.254.169.254:80, one in the name space of each flat network, each a process of its own.

Guests talk to them, and the agent is root: so they are processes without rights (`metadata_process`), which the agent
starts, and tells what their guests are to be told. A socket stays in the network name space in which it was made, whatever
process uses it later. So a thread enters the name space, makes the listening socket and ends; the process gets it.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from cairn.agents import log
from cairn.agents.blocking import in_thread
from cairn.agents.errors import AgentError
from cairn.agents.kvm.flat_config import METADATA_IP
from cairn.agents.kvm.metadata_process import Change
from cairn.agents.protocol import codes
from cairn.agents.protocol.network import MetadataEntry

_CLONE_NEWNET = 0x40000000
_PORT = 80
_ANSWER_SECONDS = 20.0
#: A change is sent in pieces of about this size, so that a process that does not read holds up little.
_PIECE_BYTES = 1 << 20


class MetadataServer:
    """The process that serves the VMs of one network. `start`, then `tell` whenever something changed, then `stop`."""

    def __init__(self, root: Path) -> None:
        """`root`: an empty folder, which is all that the process can see of the machine."""
        self._root = root
        self._process: asyncio.subprocess.Process | None = None
        self._known: dict[str, MetadataEntry] = {}

    @property
    def is_up(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.returncode is None

    async def start(self, listening: socket.socket, namespace: Path | None = None) -> None:
        """Start the process on `listening`, a bound socket, which is its own from now on (``agent.command-failed``)."""
        await in_thread(self._root.mkdir, mode=0o555, parents=True, exist_ok=True)
        files = [listening.fileno()]
        argv = [sys.executable, "-m", "cairn.agents.kvm.metadata_process", "--root", str(self._root)]
        argv += ["--socket", str(listening.fileno())]
        try:
            if namespace is not None:
                files.append(os.open(namespace, os.O_RDONLY))
                argv += ["--namespace", str(files[-1])]
            self._process = await asyncio.create_subprocess_exec(
                *argv, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, pass_fds=files
            )
        finally:
            for descriptor in files[1:]:
                os.close(descriptor)
            listening.close()
        self._known = {}
        await self._heard()

    async def tell(self, entries: Mapping[str, MetadataEntry]) -> None:
        """Have the VMs be told what `entries` say (by address), and no others. When this returns, it counts.

        Raises:
            AgentError: ``agent.command-failed``: the process died, or does not answer; it is gone then.
        """
        gone = [address for address in self._known if address not in entries]
        new = [entry for address, entry in entries.items() if self._known.get(address) != entry]
        for change in _pieces(gone, new):
            await self._send(change)
        self._known = dict(entries)

    async def stop(self) -> None:
        """End the process with its connections. One that has died is success."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()  # it has no state to save
            await process.wait()

    async def _send(self, change: Change) -> None:
        process = self._process
        if process is None or process.stdin is None:
            raise _dead()
        body = msgspec.json.encode(change)
        process.stdin.write(len(body).to_bytes(4, "big") + body)
        with suppress(ConnectionError):
            await process.stdin.drain()
        await self._heard()

    async def _heard(self) -> None:
        """Wait for the process to say that it is up, or that a change counts."""
        process = self._process
        assert process is not None
        assert process.stdout is not None
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                said = await process.stdout.read(1)
        except TimeoutError:
            said = b""
        if said != b"+":
            await self.stop()
            log.warning("metadata.died", returncode=process.returncode)
            raise _dead()


def _dead() -> AgentError:
    return AgentError(
        codes.COMMAND_FAILED,
        "The metadata server's process has died; the agent's log says why. It is started again soon.",
    )


def _pieces(gone: list[str], new: list[MetadataEntry]) -> list[Change]:
    pieces = [Change(gone=gone)] if gone else []
    piece: list[MetadataEntry] = []
    size = 0
    for entry in new:
        piece.append(entry)
        size += len(entry.user_data or b"") + sum(map(len, entry.ssh_keys))
        if size >= _PIECE_BYTES:
            pieces.append(Change(told=piece))
            piece, size = [], 0
    return [*pieces, Change(told=piece)] if piece else pieces


class NamespaceSockets:
    """Makes listening sockets in network name spaces."""

    def __init__(self, folder: Path = Path("/run/netns")) -> None:
        self._folder = folder

    def namespace(self, name: str) -> Path | None:
        """The file of the name space that the server on such a socket is to live in."""
        return self._folder / name

    async def listen(self, namespace: str) -> socket.socket:
        """A socket bound to the metadata address in `namespace`. Raises `OSError`."""
        return await in_thread(_in_namespace, self._folder / namespace, _listening_socket)


def _listening_socket() -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((METADATA_IP, _PORT))
        listening.listen(128)
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening


def _in_namespace(path: Path, make: Callable[[], socket.socket]) -> socket.socket:
    """Run `make` in a thread of its own that has entered the name space, and never comes back to ours."""
    made: list[socket.socket] = []
    failed: list[OSError] = []

    def enter_and_make() -> None:
        try:
            with path.open("rb") as namespace:
                _setns(namespace.fileno())
            made.append(make())
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=enter_and_make, name=f"enter {path.name}")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]


def _setns(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
