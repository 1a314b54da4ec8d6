from __future__ import annotations

import pytest
from tests.unit.kernel import sample

from cairn.testing.clock import VirtualClock
from cairn.testing.stores import VARIABLE, private_store


@pytest.mark.parametrize(("named", "kind"), [("sqlite", "sqlite"), ("mariadb", "mysql")])
async def test_the_variable_says_which_database_tests_run_on(
    monkeypatch: pytest.MonkeyPatch, named: str, kind: str
) -> None:
    monkeypatch.setenv(VARIABLE, named)
    store = await private_store(sample.schema(), VirtualClock())
    assert store.driver.dialect.name == kind
    await store.close()


@pytest.mark.parametrize("mariadb", [True, False])
async def test_a_test_may_choose_by_itself(monkeypatch: pytest.MonkeyPatch, mariadb: bool) -> None:
    monkeypatch.setenv(VARIABLE, "sqlite" if mariadb else "mariadb")
    store = await private_store(sample.schema(), VirtualClock(), inline=True, mariadb=mariadb)
    assert (store.driver.dialect.name == "mysql") is mariadb
    await store.close()
