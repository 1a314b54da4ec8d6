from __future__ import annotations

from pathlib import Path

from tests.unit.kernel import sample
from tests.unit.kernel.sample import Entry

from cairn.kernel.store import Store
from cairn.testing.clock import VirtualClock
from cairn.testing.mariadb import Server, shared_server


async def opened(content: bytes | None = None) -> Store:
    driver = shared_server().driver(sample.schema(), content)
    return await Store.over(driver, sample.schema(), VirtualClock(), inline=True)


async def test_a_database_is_copied_into_another() -> None:
    first = await opened()
    await first.write(lambda tx: tx.insert(Entry(text="kept")))
    second = await opened(first.content())
    await first.write(lambda tx: tx.delete_where(Entry))
    assert [one.text for one in await second.read(lambda tx: tx.find(Entry))] == ["kept"]
    await first.close()
    await second.close()


async def test_the_next_test_finds_it_empty_and_counts_from_one() -> None:
    for _ in range(2):
        store = await opened()
        assert await store.read(lambda tx: tx.find(Entry)) == []
        await store.write(lambda tx: tx.insert(Entry(text="a")))
        assert [one.number for one in await store.read(lambda tx: tx.find(Entry))] == [1]
        await store.write(lambda tx: tx.insert(sample.zone()))
        await store.close()


def test_a_server_that_was_killed_comes_back_with_what_was_committed(tmp_path: Path) -> None:
    server = Server(tmp_path, durable=True)
    server.run("CREATE DATABASE kept")
    server.kill()
    server.start()
    server.run("CREATE TABLE kept.t (a INT)")
    server.stop()
    assert (tmp_path / "data").is_dir(), "a folder that was given stays"
