from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.kernel.deploy.test_moving import OldFolder

from cairn.kernel import cloud
from cairn.kernel.cloud import CLOUD_FILE, Cloud, join
from cairn.kernel.deploy.authority import Authority
from cairn.kernel.deploy.model import ONLY
from cairn.kernel.error import CairnError
from cairn.kernel.ids import RandomIds
from cairn.kernel.store.seal import Seals
from cairn.kernel.store.store import Store
from cairn.testing.clock import VirtualClock
from cairn.testing.shared import shared_store


@pytest.fixture
async def store(tmp_path: Path) -> Store:
    return await shared_store(tmp_path / "db")


def data(tmp_path: Path, name: str) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    return folder


async def joined(store: Store, folder: Path, version: str = "0.1.0") -> str:
    return await join(store, folder, RandomIds(), version)


async def test_the_first_node_founds_the_cloud_and_others_join_it(store: Store, tmp_path: Path) -> None:
    one, two = data(tmp_path, "one"), data(tmp_path, "two")
    first = await joined(store, one)
    assert await joined(store, one) == await joined(store, two) == first
    assert (one / CLOUD_FILE).read_text() == (two / CLOUD_FILE).read_text() == f"{first}\n"


async def test_of_two_that_start_at_once_one_founds_it(tmp_path: Path) -> None:
    nodes = [joined(await shared_store(tmp_path / "db"), data(tmp_path, name)) for name in ("one", "two", "three")]
    assert len(set(await asyncio.gather(*nodes))) == 1


async def test_a_folder_of_another_cloud_is_refused_and_so_is_an_empty_database(store: Store, tmp_path: Path) -> None:
    folder, other, empty = (
        data(tmp_path, "one"),
        await shared_store(tmp_path / "db2"),
        await shared_store(tmp_path / "db3"),
    )
    await joined(store, folder)
    await joined(other, data(tmp_path, "two"))
    for wrong in (other, empty):
        with pytest.raises(CairnError, match="CAIRN_DATABASE") as caught:
            await joined(wrong, folder)
        assert caught.value.code == "node.other-cloud"
    assert await empty.read(lambda tx: tx.count(Cloud)) == 0
    await joined(store, folder)


async def test_what_an_earlier_version_kept_is_moved_once(store: Store, tmp_path: Path) -> None:
    old = OldFolder(tmp_path / "data")
    await joined(store, old.folder)
    await joined(store, old.folder)

    authority = await Authority.open(store, old.pki)
    pair = await authority.renewed_agent("u1")
    assert authority.bundle.encode() == (old.pki / "ca.crt").read_bytes()
    assert pair is not None
    assert pair.key not in "".join(path.read_text() for path in old.folder.rglob("*.key"))
    assert authority.is_revoked(0xCD)


class Crash(BaseException):
    pass


@pytest.mark.parametrize("point", ["move_in", "write", "remove_moved"])
@pytest.mark.parametrize("behind", [False, True])
async def test_a_crash_while_it_is_moved_loses_nothing(
    store: Store, tmp_path: Path, point: str, behind: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = OldFolder(tmp_path / "data")
    real: Callable[..., object] = getattr(cloud, point)

    def crash(*args: object) -> None:
        if behind:
            real(*args)
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(cloud, point, crash)
        with pytest.raises(Crash):
            await joined(store, old.folder)
    await joined(store, old.folder)

    authority = await Authority.open(store, old.pki)
    assert await authority.renewed_agent("u1") is not None
    assert authority.bundle.encode() == (old.pki / "ca.crt").read_bytes()
    assert not (old.pki / "ca.key").exists()
    assert not (old.pki / "agents").exists()


async def test_a_node_with_an_authority_of_its_own_does_not_lose_it_to_another_cloud(
    store: Store, tmp_path: Path
) -> None:
    await joined(store, data(tmp_path, "one"))
    old = OldFolder(tmp_path / "data")
    before = old.files()
    with pytest.raises(CairnError, match="an authority of its own") as caught:
        await joined(store, old.folder)
    assert caught.value.code == "node.other-cloud"
    assert old.files() == before


async def test_a_node_without_the_cloud_s_key_is_refused(store: Store, tmp_path: Path) -> None:
    await joined(store, data(tmp_path, "one"))
    other = await Store.open(
        tmp_path / "db" / "shared.db", store.schema, VirtualClock(), inline=True, seals=Seals.ephemeral()
    )
    folder = data(tmp_path, "two")
    with pytest.raises(CairnError, match="Every node of a cloud has the same") as caught:
        await joined(other, folder)
    assert caught.value.code == "secret.key-missing"
    assert list(folder.iterdir()) == []
    await other.close()


@pytest.mark.parametrize(("version", "least"), [("0.2.0", "0.10.0"), ("0.9", "0.10.0"), ("0.9.9+local", "0.10.0")])
async def test_a_node_that_is_too_old_is_refused_with_both_versions(
    store: Store, tmp_path: Path, version: str, least: str
) -> None:
    folder = data(tmp_path, "one")
    await joined(store, folder)
    await store.write(lambda tx: tx.update(Cloud, ONLY, least_version=least, version="0.11.0"))
    with pytest.raises(CairnError, match=least) as caught:
        await joined(store, folder, version)
    assert caught.value.code == "node.too-old"
    await joined(store, folder, "0.10.0")


async def test_the_newest_version_is_noted_and_neighbours_may_still_start(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = data(tmp_path, "one"), data(tmp_path, "two")
    await joined(store, one, "1.9.0")
    monkeypatch.setattr(cloud, "OLDEST_NEIGHBOUR", "1.9.0")
    await joined(store, two, "1.10.0")
    await joined(store, one, "1.9.0")
    row = await store.read(lambda tx: tx.get(Cloud, ONLY))
    assert row is not None
    assert (row.version, row.least_version) == ("1.10.0", "1.9.0")
