"""Ports for servers of tests."""

from __future__ import annotations

import itertools
import os
import socket
from typing import Final

#: below those that the kernel gives to outgoing connections: a server that ends and starts again finds its port free
_PORTS: Final = range(12_000, 32_000)
_next = itertools.count(os.getpid() * 97)


def free_port(address: str = "127.0.0.1") -> int:
    """A port of `address` where nobody listens; no two tests are given the same, in one process or in several at a time."""
    for number in itertools.islice(_next, len(_PORTS)):
        port = _PORTS[number % len(_PORTS)]
        try:
            with socket.create_server((address, port)):
                return port
        except OSError:
            continue
    raise AssertionError(f"no port of {address} is free")
