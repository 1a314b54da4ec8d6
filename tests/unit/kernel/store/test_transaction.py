from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.kernel import sample
from tests.unit.kernel.sample import Zone, zone

from cairn.kernel.error import CairnError
from cairn.kernel.store import Store
from cairn.kernel.store.seal import Seals
from cairn.kernel.store.sqlite import SqliteDriver
from cairn.kernel.store.transaction import reading
from cairn.testing.clock import VirtualClock


async def test_it_sees_one_state_and_changes_nothing(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "a.db", sample.schema(), VirtualClock(), inline=True, create_tables=True)
    await store.write(lambda tx: tx.insert(zone(1)))

    with reading(SqliteDriver(tmp_path / "a.db"), sample.schema(), Seals.ephemeral()) as (connection, tx):
        assert tx.find(Zone) == [zone(1)]
        await store.write(lambda tx: tx.insert(zone(2)))
        assert connection.fetch("SELECT count(*) FROM zone", ()) == [(1,)]
        with pytest.raises(CairnError, match=r"Store\.write"):
            tx.delete(Zone, "z1")
    await store.close()
