from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cairn.kernel.store.store import Store
from cairn.testing.cloud import Cloud
from cairn.testing.mortal import ORIGIN, Killed, Life, MortalStore, MortalTransport, StandInInstaller
from cairn.testing.transport import MemoryTransport


def test_mortal_store_has_all_that_the_store_has() -> None:
    public = {
        name
        for name, value in vars(Store).items()
        if not name.startswith("_") and not isinstance(value, (classmethod, staticmethod))
    }
    assert {"read", "write", "schema"} <= public
    assert public - set(vars(MortalStore)) == set(), "what the store has since then, and a node of a test's cloud lacks"


async def test_mortal_store_does_nothing_more_once_the_node_is_dead() -> None:
    async with Cloud.open() as cloud:
        life = Life()
        store = MortalStore(cloud.store, life)
        assert store.content() == cloud.store.content()
        await store.optimize()
        life.dead = True
        for call in (store.read, store.write, store.look):
            with pytest.raises(Killed):
                await call(lambda tx: None)
        with pytest.raises(Killed):
            await store.optimize()


async def test_a_node_that_is_paused_reaches_nothing_until_it_wakes_and_a_dead_one_never() -> None:
    async with Cloud.open() as cloud:
        life = Life()
        store = MortalStore(cloud.store, life)
        life.pause()
        waiting = asyncio.create_task(store.read(lambda tx: "read"))
        await cloud.quiet(60)
        assert not waiting.done()
        life.wake()
        assert await waiting == "read"

        life.pause()
        dying = asyncio.create_task(store.read(lambda tx: "read"))
        await cloud.quiet(0)
        life.dead = True
        life.wake()
        with pytest.raises(Killed):
            await dying


async def test_machines_that_are_spoken_to_over_tls_are_played_by_the_simulator() -> None:
    async with Cloud.open(hosts=2) as cloud:
        asked: list[str] = []

        async def handle(method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
            asked.append(path)
            return 200, b"{}"

        transport = MortalTransport(MemoryTransport(handle, cloud.clock), Life())
        for url in ("https://10.0.0.2:7070/v1/ping", "https://backup:7070/v1/ping", f"{ORIGIN}/hosts/sim-0001/v1/ping"):
            assert await cloud.clock.run(transport.request("GET", url, None, 5)) == (200, b"{}")
        assert asked == [f"/hosts/{name}/v1/ping" for name in ("sim-0002", "backup", "sim-0001")]


async def test_the_stand_in_for_an_installer_knows_which_machine_plays() -> None:
    installer = StandInInstaller()
    one, two = [await installer.target("u", f"10.0.0.{number}", 22, "root", "secret", None) for number in (1, 2)]
    found = await installer.identify("u", one)
    assert found.fingerprint == "SHA256:sim-0001"
    assert found.identity != (await installer.identify("u", two)).identity
    assert await installer.install(Path("playbook"), "u", one) == 0
