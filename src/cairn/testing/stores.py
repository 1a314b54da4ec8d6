"""Private databases for tests, on the kind of database that ``CAIRN_TEST_DATABASE`` names: ``sqlite``, or ``mariadb``."""

from __future__ import annotations

import os
from typing import Final

from cairn.kernel.clock import Clock
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.seal import Seals
from cairn.kernel.store.store import Store, StoreMetrics
from cairn.testing.mariadb import shared_server

VARIABLE: Final = "CAIRN_TEST_DATABASE"


def on_mariadb() -> bool:
    """Whether tests are to run on MariaDB."""
    return os.environ.get(VARIABLE, "sqlite") == "mariadb"


async def private_store(
    schema: Schema,
    clock: Clock,
    metrics: StoreMetrics | None = None,
    *,
    inline: bool = False,
    content: bytes | None = None,
    seals: Seals | None = None,
    mariadb: bool | None = None,
) -> Store:
    """As `Store.memory`, on the kind of database that tests are to run on.

    Args:
        mariadb: on MariaDB or on SQLite, whatever the variable says.
    """
    if on_mariadb() if mariadb is None else mariadb:
        driver = shared_server().driver(schema, content)
        return await Store.over(driver, schema, clock, metrics, inline=inline, seals=seals)
    return await Store.memory(schema, clock, metrics, inline=inline, content=content, seals=seals)
