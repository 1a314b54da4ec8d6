"""Connections outside of a `Store`: for what is done to a database before it opens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cairn.kernel.store.address import ServerAddress, database_at
from cairn.kernel.store.driver import Connection, Driver
from cairn.kernel.store.mariadb import MariadbDriver
from cairn.kernel.store.sqlite import SqliteDriver


def driver_at(address: Path | ServerAddress) -> Driver:
    """What opens the database there.

    Raises:
        CairnError: of a server ``store.unreachable``, ``store.no-access``, ``store.no-client``.
    """
    return SqliteDriver(address) if isinstance(address, Path) else MariadbDriver(address)


@contextmanager
def connected(url: str | Path, *, read_only: bool = False) -> Iterator[Connection]:
    """A connection to a database that is there (`exists`), which ends with the block. What is not committed is given up."""
    connection = driver_at(database_at(url)).connect(read_only=read_only)
    try:
        yield connection
    finally:
        connection.close()


def exists(url: str | Path) -> bool:
    """Whether there is such a file. A database on a server is there, or connecting to it says what is wrong."""
    address = database_at(url)
    return not isinstance(address, Path) or address.exists()
