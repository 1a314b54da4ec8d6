"""What is written as one thing's own (`Store.write`) is: other writers may be at work at the same time, and must not be met."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar
from unittest.mock import patch

import pytest

from cairn.kernel.store.sqlite import SqliteConnection
from cairn.kernel.store.store import Store, Tx
from cairn.testing.cloud import Cloud, Refused
from cairn.testing.stores import VARIABLE

T = TypeVar("T")
#: rows that are made for one thing, or found by its key
MADE = {"job", "resource", "flow_run", "event"}
CHANGED = {"job", "flow_run", "vm_instance"}
_CHANGE = re.compile(r"(?:INSERT INTO|UPDATE|DELETE FROM) (\w+)")


@contextmanager
def noted() -> Iterator[set[str]]:
    """The statements that change something in functions that were given as one thing's own."""
    seen: set[str] = set()
    owned = [False]
    write = Store.write

    async def noting(self: Store, fn: Callable[[Tx], T], *, own: str | None = None) -> T:
        owned[0] = own is not None
        try:
            return await write(self, fn, own=own)  # at once: the store is inline
        finally:
            owned[0] = False

    def watching(method: Callable[..., object]) -> Callable[..., object]:
        def call(self: SqliteConnection, sql: str, values: object) -> object:
            if owned[0] and _CHANGE.match(sql):
                seen.add(sql)
            return method(self, sql, values)

        return call

    with (
        patch.object(Store, "write", noting),
        patch.object(SqliteConnection, "execute", watching(SqliteConnection.execute)),
        patch.object(SqliteConnection, "execute_many", watching(SqliteConnection.execute_many)),
    ):
        yield seen


async def test_what_is_written_as_one_things_own_are_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "sqlite")
    async with Cloud.open(hosts=2) as cloud:
        await cloud.make_site()
        with noted() as seen:
            vm = str((await cloud.create_vm("web"))["uuid"])
            for api in (
                "StopVmInstance",
                "StartVmInstance",
                "RebootVmInstance",
                "DestroyVmInstance",
                "ExpungeVmInstance",
            ):
                await cloud.call(api, uuid=vm)
            with pytest.raises(Refused):
                await cloud.create_vm("huge", memory_size=1 << 50)
            added = await cloud.call("CreateZone", name="other")
            await cloud.call("DeleteZone", uuid=added["uuid"])

    wrong: list[str] = []
    for sql in seen:
        found = _CHANGE.match(sql)
        assert found is not None
        made = sql.startswith("INSERT") and found[1] in MADE
        changed = not sql.startswith("INSERT") and found[1] in CHANGED and f"{found[1]}.uuid = ?" in sql
        if not (made or changed):
            wrong.append(sql)
    assert wrong == []
    assert {"INSERT", "UPDATE", "DELETE"} == {sql.split()[0] for sql in seen}
