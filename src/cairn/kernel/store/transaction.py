"""A transaction outside of a store: for commands that look at a database while no node of this process has it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cairn.kernel.clock import SystemClock
from cairn.kernel.store.driver import Connection, Driver
from cairn.kernel.store.remembered import Changes
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.seal import Seals
from cairn.kernel.store.statements import Statements
from cairn.kernel.store.tx import Tx


@contextmanager
def reading(driver: Driver, schema: Schema, seals: Seals) -> Iterator[tuple[Connection, Tx]]:
    """One state of the database, for as long as it is looked at: its connection, and a transaction that cannot change it."""
    connection = driver.connect(read_only=True)
    try:
        connection.begin()
        statements = Statements(driver.dialect, seals)
        yield connection, Tx(connection, driver, schema, statements, SystemClock().now(), Changes(), writable=False)
        connection.rollback()
    finally:
        connection.close()
