from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from cairn.kernel.clock import SystemClock
from cairn.kernel.resource import Resource
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.seal import Seals
from cairn.kernel.store.store import Store
from cairn.kernel.tag import SystemTag, TagDefinition, UserTag
from cairn.kernel.tag_sealing import seal_tags

PIN = TagDefinition("pin::{pin}", "VmInstance", doc="a secret", sealed=True)
NAME = TagDefinition("name::{name}", "VmInstance", doc="no secret")
SCHEMA = Schema([Resource, SystemTag, UserTag])
SEALS = Seals.ephemeral()


async def with_tags(database: Path, tags: list[tuple[str, str]]) -> None:
    """A database that has these tags, of entity and text, as an earlier version wrote them."""
    store = await Store.open(database, SCHEMA, SystemClock(), create_tables=True, seals=SEALS)
    await store.write(lambda tx: tx.insert(Resource(uuid="vm", type="VmInstance", name="", create_date=tx.now)))
    await store.close()
    insert = "INSERT INTO system_tag VALUES (:uuid, 0, 'vm', :entity, :tag, NULL, 'System', NULL, 0)"
    with closing(sqlite3.connect(database)) as connection:
        rows = [{"uuid": f"{at:05}", "entity": entity, "tag": tag} for at, (entity, tag) in enumerate(tags)]
        connection.executemany(insert, rows)
        connection.commit()


async def texts(database: Path) -> list[tuple[str, str]]:
    store = await Store.open(database, SCHEMA, SystemClock(), seals=SEALS)
    rows = await store.read(lambda tx: tx.find(SystemTag, order_by="uuid"))
    await store.close()
    return [(row.tag, row.text) for row in rows]


def content(database: Path) -> bytes:
    return b"".join(path.read_bytes() for path in database.parent.glob(f"{database.name}*"))


async def test_tags_that_lie_in_clear_are_sealed_and_nothing_of_them_is_left(tmp_path: Path) -> None:
    database = tmp_path / "cairn.db"
    secret = [("VmInstance", f"pin::geheim{number}") for number in range(450)]
    await with_tags(database, secret)
    assert b"geheim" in content(database)
    assert seal_tags(database, [NAME, PIN], SEALS) == 450
    assert b"geheim" not in content(database)
    assert await texts(database) == [("pin::", tag) for _, tag in secret]


async def test_what_is_sealed_is_not_sealed_again(tmp_path: Path) -> None:
    database = tmp_path / "cairn.db"
    await with_tags(database, [("VmInstance", "pin::4711")])
    assert [seal_tags(database, [PIN], SEALS) for _ in range(2)] == [1, 0]
    assert await texts(database) == [("pin::", "pin::4711")]


async def test_tags_of_other_kinds_and_on_other_resources_stay_as_they_are(tmp_path: Path) -> None:
    database = tmp_path / "cairn.db"
    others = [("VmInstance", "name::a"), ("VmInstance", "PIN::4711"), ("Zone", "pin::4711"), ("VmInstance", "pin")]
    await with_tags(database, others)
    assert seal_tags(database, [NAME, PIN], SEALS) == 0
    assert await texts(database) == [(tag, tag) for _, tag in others]
