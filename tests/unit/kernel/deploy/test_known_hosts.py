from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cairn.kernel.deploy.known_hosts import KnownHosts
from cairn.kernel.deploy.ssh import HostKey, SshTarget
from cairn.kernel.error import CairnError
from cairn.testing.shared import shared_store

ED = HostKey("ssh-ed25519", "QUFBQQ==")
OTHER_ED = HostKey("ssh-ed25519", "QkJCQg==")
RSA = HostKey("ssh-rsa", "Q0NDQw==")
TARGET = SshTarget(host="198.18.0.11", password="secret")


async def test_first_sight_pins_and_later_checks_pass(tmp_path: Path) -> None:
    known = KnownHosts(await shared_store(tmp_path), tmp_path / "hosts")

    await known.check("u1", TARGET, [ED, RSA])
    await known.check("u1", TARGET, [ED])
    await known.check("u1", TARGET, [RSA, ED])

    assert await known.pinned("u1") == (ED, RSA)
    assert "198.18" not in known.path("u1").read_text()


async def test_changed_key_is_refused_with_both_fingerprints_and_a_way_out(tmp_path: Path) -> None:
    known = KnownHosts(await shared_store(tmp_path), tmp_path)
    await known.check("u1", TARGET, [ED])

    with pytest.raises(CairnError) as caught:
        await known.check("u1", TARGET, [OTHER_ED])

    assert caught.value.code == "ssh.host-key-changed"
    assert caught.value.details == {"found": OTHER_ED.fingerprint, "pinned": ED.fingerprint}
    for part in (OTHER_ED.fingerprint, ED.fingerprint, "hostKeyFingerprint"):
        assert part in caught.value.message
    assert await known.pinned("u1") == (ED,)


async def test_machine_that_shows_only_kinds_never_pinned_is_refused(tmp_path: Path) -> None:
    known = KnownHosts(await shared_store(tmp_path), tmp_path)
    await known.check("u1", TARGET, [ED])

    with pytest.raises(CairnError, match="is pinned for it"):
        await known.check("u1", TARGET, [RSA])


async def test_forgotten_pin_is_pinned_again(tmp_path: Path) -> None:
    store = await shared_store(tmp_path)
    known = KnownHosts(store, tmp_path)
    await known.check("u1", TARGET, [ED])

    for _ in range(2):
        await store.write(lambda tx: known.forget(tx, "u1"))
    await known.check("u1", TARGET, [OTHER_ED])

    assert await known.pinned("u1") == (OTHER_ED,)


@pytest.mark.parametrize("uuid", ["../x", "", "a b"])
async def test_pin_name_that_could_leave_the_folder_is_refused(tmp_path: Path, uuid: str) -> None:
    with pytest.raises(CairnError):
        KnownHosts(await shared_store(tmp_path), tmp_path).path(uuid)


async def test_a_fingerprint_that_was_given_is_the_only_key_that_is_trusted(tmp_path: Path) -> None:
    known = KnownHosts(await shared_store(tmp_path), tmp_path)
    await known.check("u1", TARGET, [ED, RSA], ED.fingerprint)

    assert await known.pinned("u1") == (ED,)
    with pytest.raises(CairnError, match="Nothing was sent") as caught:
        await known.check("u2", TARGET, [OTHER_ED], ED.fingerprint)
    assert caught.value.code == "ssh.wrong-host-key"
    assert OTHER_ED.fingerprint in caught.value.fields["hostKeyFingerprint"]


async def test_a_new_fingerprint_that_is_given_takes_the_place_of_what_was_pinned(tmp_path: Path) -> None:
    known = KnownHosts(await shared_store(tmp_path), tmp_path)
    await known.check("u1", TARGET, [ED])
    with pytest.raises(CairnError, match=r"ssh\.host-key-changed"):
        await known.check("u1", TARGET, [OTHER_ED], ED.fingerprint)

    await known.check("u1", TARGET, [OTHER_ED], OTHER_ED.fingerprint)

    assert await known.pinned("u1") == (OTHER_ED,)


async def test_what_one_node_has_pinned_is_pinned_for_the_others(tmp_path: Path) -> None:
    store = await shared_store(tmp_path)
    one, two = (KnownHosts(store, tmp_path / name) for name in ("one", "two"))
    await one.check("u1", TARGET, [ED])
    with pytest.raises(CairnError, match=r"ssh\.host-key-changed"):
        await two.check("u1", TARGET, [OTHER_ED])
    await two.check("u1", TARGET, [ED])
    assert two.path("u1").read_text() == one.path("u1").read_text()

    await store.write(lambda tx: one.forget(tx, "u1"))
    assert await two.pinned("u1") == ()
    assert not two.path("u1").exists()


async def test_of_two_nodes_that_see_a_machine_first_one_pins_and_the_other_compares(tmp_path: Path) -> None:
    one, two = [KnownHosts(await shared_store(tmp_path), tmp_path / name) for name in ("one", "two")]
    found = await asyncio.gather(
        one.check("u1", TARGET, [ED]), two.check("u1", TARGET, [OTHER_ED]), return_exceptions=True
    )
    assert sorted(type(each).__name__ for each in found) == ["CairnError", "tuple"]
    assert await one.pinned("u1") == await two.pinned("u1")


async def test_a_file_that_was_tampered_with_is_put_right_before_it_is_used(tmp_path: Path) -> None:
    known = KnownHosts(await shared_store(tmp_path), tmp_path / "known")
    await known.check("u1", TARGET, [ED])
    known.path("u1").write_text(f"u1 {OTHER_ED.kind} {OTHER_ED.blob}\n")
    await known.check("u1", TARGET, [ED])
    assert OTHER_ED.blob not in known.path("u1").read_text()
