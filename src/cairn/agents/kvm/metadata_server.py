"""HTTP servers at 169.254.169.254:80, one in the name space of each flat network, all in the agent's process.

A socket stays in the network name space in which it was made, whatever thread uses it later. So a thread enters the
name space, makes the listening socket and ends; the event loop does the rest.
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from cairn.agents.blocking import in_thread
from cairn.agents.kvm.flat_config import METADATA_IP
from cairn.agents.kvm.metadata import NOT_FOUND, answer
from cairn.agents.protocol.network import MetadataEntry

_CLONE_NEWNET = 0x40000000
_PORT = 80

#: Finds the VM that asks, by its address.
Find = Callable[[str], MetadataEntry | None]


class MetadataServer:
    """Serves the VMs of one network what they are told at 169.254.169.254."""

    def __init__(self, find: Find) -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._get)
        self._find = find
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def start(self, listening: socket.socket) -> None:
        """Serve on `listening`, a bound socket."""
        await self._runner.setup()
        await web.SockSite(self._runner, listening).start()

    async def stop(self) -> None:
        """Close the socket and the connections; requests that are being answered get a second to end."""
        await self._runner.cleanup()

    async def _get(self, request: web.Request) -> web.Response:
        vm = self._find(request.remote or "")
        found = answer(vm, request.path) if vm is not None else NOT_FOUND
        if found.text is None:
            return web.Response(status=404, text="not found\n")
        return web.Response(text=found.text, content_type=found.content_type)


class NamespaceSockets:
    """Makes listening sockets in network name spaces."""

    def __init__(self, folder: Path = Path("/run/netns")) -> None:
        self._folder = folder

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
