"""Programs of the machine that several nodes need beside them, and ports for them."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
from collections.abc import Collection, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from cairn.cli.errors import refused

#: those of administrators are not in everybody's path
_MORE_FOLDERS: Final = "/usr/sbin:/sbin"
#: not that of /usr/sbin, which would change the user
RABBITMQ: Final = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
#: below those that the kernel gives to outgoing connections: a program that ends and starts again finds its port free
_PORTS: Final = range(12_000, 32_000)

MARIADB_PROGRAMS: Final = {"mariadbd": "mariadb-server", "mariadb-install-db": "mariadb-server"}
RABBITMQ_PROGRAMS: Final = {str(RABBITMQ): "rabbitmq-server"}
HAPROXY_PROGRAMS: Final = {"haproxy": "haproxy"}


def program(name: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """Where a program is; None: it is not installed."""
    return shutil.which(name, path=f"{environment.get('PATH', os.defpath)}:{_MORE_FOLDERS}")


def require(programs: Mapping[str, str], environment: Mapping[str, str] = os.environ) -> None:
    """Refuse to begin without these programs, which are named with their Debian packages (exit code 1)."""
    missing = {name: package for name, package in programs.items() if program(name, environment) is None}
    if missing:
        names, packages = ", ".join(missing), " ".join(sorted(set(missing.values())))
        raise refused(
            f"Several nodes need {names}, and this machine has not got it. As root: apt-get install {packages} (or, in a "
            "working copy, make packages). Debian starts a server of its own with some of them; cairn does not need that.",
            code="up.missing-program",
        )
    if "mariadbd" in programs and find_spec("MySQLdb") is None:
        raise refused(
            "Several nodes need the Python package mysqlclient: pip install 'cairn-cloud[mariadb]' (in a working copy, make).",
            code="up.missing-program",
        )


def is_free(address: str, port: int) -> bool:
    """Whether a program could listen there."""
    try:
        with socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET):
            return True
    except OSError:
        return False


def free_port(taken: Collection[int], addresses: Collection[str] = ("127.0.0.1",)) -> int:
    """A port that is free at all of these addresses, and none of those that are `taken` (exit code 1 when there is none)."""
    for number in itertools.islice(itertools.count(os.getpid() * 97), len(_PORTS)):
        port = _PORTS[number % len(_PORTS)]
        if port not in taken and all(is_free(address, port) for address in addresses):
            return port
    raise refused(
        f"No port from {_PORTS.start} to {_PORTS.stop - 1} is free at {', '.join(addresses)}.", code="up.no-port"
    )


def answers(family: socket.AddressFamily, address: str | tuple[str, int]) -> bool:
    """Whether a program listens there."""
    with socket.socket(family, socket.SOCK_STREAM) as one:
        one.settimeout(5)
        try:
            one.connect(address)
        except OSError:
            return False
        return True
