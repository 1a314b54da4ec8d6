from __future__ import annotations

from pathlib import Path

import pytest

from cairn.kernel.deploy.model import KnownHost
from cairn.kernel.deploy.sharing import write_first
from cairn.kernel.error import CairnError
from cairn.testing.shared import shared_store


async def test_the_first_row_is_the_one_and_who_comes_later_is_told(tmp_path: Path) -> None:
    one, two = await shared_store(tmp_path), await shared_store(tmp_path)
    assert await write_first(one, KnownHost(uuid="u", host_keys="first"))
    assert not await write_first(two, KnownHost(uuid="u", host_keys="second"))
    row = await one.read(lambda tx: tx.get(KnownHost, "u"))
    assert row is not None
    assert row.host_keys == "first"


async def test_any_other_trouble_is_raised(tmp_path: Path) -> None:
    store = await shared_store(tmp_path)
    await store.close()
    with pytest.raises(CairnError, match=r"store\.closed"):
        await write_first(store, KnownHost(uuid="u", host_keys=""))
