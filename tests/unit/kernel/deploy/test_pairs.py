from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from cairn.kernel.deploy.model import AgentPair, RevokedCertificate
from cairn.kernel.deploy.pairs import (
    agent_pair,
    all_serials,
    epoch_of,
    pair_of,
    read_serials,
    replace,
    revoke,
    revoked_since,
    serials_text,
)
from cairn.kernel.deploy.pem import Pair, builder, subject_of
from cairn.kernel.deploy.roots import first_root
from cairn.kernel.store.store import Store
from cairn.testing.clock import VirtualClock
from cairn.testing.shared import shared_store

NOW = VirtualClock().now()


def pair() -> Pair:
    key, name = ec.generate_private_key(ec.SECP256R1()), subject_of("a", "u")
    return Pair(builder(name, name, key, NOW, NOW + timedelta(days=1)).sign(key, hashes.SHA256()), key)


async def store_in(folder: Path) -> Store:
    store = await shared_store(folder, VirtualClock())
    await store.write(lambda tx: tx.insert(first_root(NOW)))
    return store


async def row_of(store: Store) -> AgentPair | None:
    return await store.read(lambda tx: tx.get(AgentPair, "u1"))


async def test_a_pair_is_replaced_by_who_has_seen_it_and_what_was_before_is_remembered(tmp_path: Path) -> None:
    store = await store_in(tmp_path)
    one, two, three = pair(), pair(), pair()
    assert await replace(store, None, "u1", one)
    assert not await replace(store, None, "u1", two), "another node was quicker"
    seen = await row_of(store)
    assert await replace(store, seen, "u1", two)
    assert not await replace(store, seen, "u1", three)

    now = await row_of(store)
    assert now is not None
    found = pair_of(now)
    assert found is not None
    assert found.certificate == two.certificate
    assert set(all_serials(now)) == {one.certificate.serial_number, two.certificate.serial_number}


async def test_revoked_certificates_are_found_by_the_epoch_and_forgotten_when_they_have_ended(tmp_path: Path) -> None:
    store, now = await store_in(tmp_path), NOW.timestamp()
    await store.write(lambda tx: revoke(tx, {1: now - 1}))
    before = await store.read(epoch_of)
    for _ in range(2):
        await store.write(lambda tx: revoke(tx, {2: now + 10, 0xFF << 150: now + 20}))

    assert await store.read(lambda tx: revoked_since(tx, before)) == {2: now + 10, 0xFF << 150: now + 20}
    assert await store.read(lambda tx: revoked_since(tx, before + 1)) == {}
    assert await store.read(lambda tx: tx.count(RevokedCertificate)) == 2


async def test_without_an_authority_there_is_no_epoch(tmp_path: Path) -> None:
    assert await (await shared_store(tmp_path)).read(epoch_of) == 0


def test_serial_numbers_come_back_as_they_were_written() -> None:
    serials = {1: 10.0, 1 << 150: 20.0}
    assert read_serials(serials_text(serials)) == serials


def test_a_damaged_certificate_is_revoked_for_as_long_as_any() -> None:
    row = agent_pair("u1", pair(), {})
    damaged = AgentPair(uuid="u1", serial=row.serial, certificate="nonsense", private_key="x")
    assert pair_of(damaged) is None
    ((serial, end),) = all_serials(damaged).items()
    assert f"{serial:x}" == row.serial
    assert datetime.fromtimestamp(end, UTC).year == 9999
