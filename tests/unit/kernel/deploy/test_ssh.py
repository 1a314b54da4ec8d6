from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

if TYPE_CHECKING:
    from tests.unit.kernel.deploy.conftest import Sshd

from cairn.agents.protocol.machine import identity_here
from cairn.kernel.clock import SystemClock
from cairn.kernel.deploy.known_hosts import KnownHosts
from cairn.kernel.deploy.own_key import OwnKey
from cairn.kernel.deploy.ssh import (
    HostKey,
    SshTarget,
    authorize,
    check_login,
    check_private_key,
    check_target,
    look,
    reach,
    scan_host_key,
    unauthorize,
)
from cairn.kernel.error import CairnError
from cairn.testing.shared import shared_store

ED = HostKey("ssh-ed25519", "QUFBQQ==")
OTHER_ED = HostKey("ssh-ed25519", "QkJCQg==")
RSA = HostKey("ssh-rsa", "Q0NDQw==")
TARGET = SshTarget(host="198.18.0.11", password="secret")


def test_password_is_in_no_text_of_a_target() -> None:
    assert "secret" not in f"{TARGET} {TARGET!r}"


@pytest.mark.parametrize(
    ("host", "username", "port"),
    [("-oProxyCommand=x", "root", 22), ("a b", "root", 22), ("", "root", 22), ("h", "-x", 22), ("h", "root", 0)],
)
def test_address_that_ssh_could_take_for_an_option_is_refused(host: str, username: str, port: int) -> None:
    with pytest.raises(CairnError) as caught:
        check_target(SshTarget(host=host, username=username, port=port))
    assert caught.value.code == "ssh.bad-address"
    assert caught.value.fields


async def pinned(sshd: Sshd, folder: Path) -> KnownHosts:
    known = KnownHosts(await shared_store(folder), folder / "known hosts")
    await known.check("u1", sshd.target, await scan_host_key(sshd.target))
    return known


async def test_scan_finds_the_key_of_a_real_sshd_and_the_right_key_logs_in(sshd: Sshd, tmp_path: Path) -> None:
    keys = await scan_host_key(sshd.target)

    assert [key.blob for key in keys] == [sshd.host_key]
    await check_login(sshd.target, "u1", await pinned(sshd, tmp_path))


async def test_wrong_key_and_wrong_password_are_login_failures(sshd: Sshd, tmp_path: Path) -> None:
    known = await pinned(sshd, tmp_path)
    wrong_key = msgspec.structs.replace(sshd.target, private_key_path=sshd.folder / "host")
    wrong_password = SshTarget(host=sshd.target.host, port=sshd.target.port, password="wrong'$pass")
    no_key = msgspec.structs.replace(sshd.target, private_key_path=tmp_path / "none")

    for target in (wrong_key, wrong_password, no_key):
        with pytest.raises(CairnError) as caught:
            await check_login(target, "u1", known)
        assert caught.value.code == "ssh.login-failed"
        assert "wrong'$pass" not in str(caught.value)


async def test_key_that_others_can_read_is_named(sshd: Sshd, tmp_path: Path) -> None:
    (sshd.folder / "user").chmod(0o644)

    with pytest.raises(CairnError, match="0600"):
        await check_login(sshd.target, "u1", await pinned(sshd, tmp_path))


async def test_machine_installed_again_is_refused_by_scan_and_by_login(
    start_sshd: Callable[[int], Sshd], tmp_path: Path
) -> None:
    first = start_sshd(0)
    known = await pinned(first, tmp_path)
    second = start_sshd(first.target.port)

    with pytest.raises(CairnError) as by_scan:
        await known.check("u1", second.target, await scan_host_key(second.target))
    with pytest.raises(CairnError) as by_login:
        await check_login(second.target, "u1", known)

    assert by_scan.value.code == by_login.value.code == "ssh.host-key-changed"
    assert by_scan.value.details == by_login.value.details


async def test_closed_port_is_unreachable(free_port: int) -> None:
    with pytest.raises(CairnError) as caught:
        await scan_host_key(SshTarget(host="127.0.0.1", port=free_port))
    assert caught.value.code == "ssh.unreachable"
    assert "Connect call failed" in caught.value.message or "refused" in caught.value.message


async def test_port_that_accepts_and_says_nothing_times_out(tmp_path: Path) -> None:
    silent = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    async with silent:
        target = SshTarget(host="127.0.0.1", port=silent.sockets[0].getsockname()[1], password="x")
        with pytest.raises(CairnError) as caught:
            await check_login(target, "u1", KnownHosts(await shared_store(tmp_path), tmp_path), timeout_seconds=0.2)
    assert caught.value.code == "ssh.timeout"


async def test_missing_sshpass_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(CairnError) as caught:
        await check_login(
            SshTarget(host="127.0.0.1", password="x"), "u1", KnownHosts(await shared_store(tmp_path), tmp_path)
        )
    assert caught.value.code == "ssh.no-sshpass"


async def test_no_descriptor_is_left_open_by_a_login_with_password(sshd: Sshd, tmp_path: Path) -> None:
    known = await pinned(sshd, tmp_path)
    target = SshTarget(host=sshd.target.host, port=sshd.target.port, password="wrong")
    with pytest.raises(CairnError):
        await check_login(target, "u1", known)
    before = len(os.listdir("/proc/self/fd"))

    with pytest.raises(CairnError):
        await check_login(target, "u1", known)

    assert len(os.listdir("/proc/self/fd")) == before


async def test_nothing_is_sent_to_a_machine_that_shows_another_key_than_the_one_that_was_given(
    sshd: Sshd, tmp_path: Path
) -> None:
    target = SshTarget(host=sshd.target.host, port=sshd.target.port, password="secret")
    known = KnownHosts(await shared_store(tmp_path), tmp_path / "known")

    with pytest.raises(CairnError) as caught:
        await reach(target, "u1", known, expected=ED.fingerprint)

    assert caught.value.code == "ssh.wrong-host-key"
    assert await known.pinned("u1") == ()


async def test_a_machine_tells_what_it_is_and_its_time_before_anything_is_changed(sshd: Sshd, tmp_path: Path) -> None:
    known = await pinned(sshd, tmp_path)

    sight = await look(sshd.target, "u1", known)

    assert sight.identity == identity_here()
    assert abs(sight.time - SystemClock().now().timestamp()) < 60


def keygen(folder: Path, *more: str) -> Path:
    path = folder / f"key{len(list(folder.iterdir()))}"
    subprocess.run(["ssh-keygen", "-q", *more, "-f", str(path)], check=True)
    return path


@pytest.mark.parametrize("kind", [("-t", "ed25519"), ("-t", "rsa", "-b", "2048", "-m", "PEM"), ("-t", "ecdsa")])
def test_a_key_with_a_passphrase_or_the_public_half_is_named_for_what_it_is(
    tmp_path: Path, kind: tuple[str, ...]
) -> None:
    good, locked = keygen(tmp_path, *kind, "-N", ""), keygen(tmp_path, *kind, "-N", "open sesame")
    check_private_key(good.read_text())
    check_private_key("\n" + good.read_text().strip())

    for text, found in (
        (locked.read_text(), "a key with a passphrase"),
        (good.with_suffix(".pub").read_text(), "a public key"),
        (good.read_text()[:-200], "a damaged private key"),
    ):
        with pytest.raises(CairnError, match=found) as caught:
            check_private_key(text)
        assert caught.value.code == "ssh.bad-key"
        assert text.splitlines()[1 if "-----" in text else 0][:40] not in str(caught.value.record())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("PuTTY-User-Key-File-3: ssh-ed25519", "PuTTY"),
        ("-----BEGIN PUBLIC KEY-----\nMCow", "a public key"),
        ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA", "a public key"),
        ("hunter2", "no private key"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\n!\n-----END OPENSSH PRIVATE KEY-----", "a damaged private key"),
    ],
)
def test_what_is_no_private_key_is_named_for_what_it_is(text: str, found: str) -> None:
    with pytest.raises(CairnError, match=found):
        check_private_key(text)


async def test_key_that_was_let_in_logs_in_until_it_is_taken_back(sshd: Sshd, tmp_path: Path) -> None:
    known = KnownHosts(await shared_store(tmp_path), tmp_path / "known")
    await reach(sshd.target, "u1", known)
    own = OwnKey(await shared_store(tmp_path), tmp_path / "own" / "own.key")
    line = await own.public()
    target = msgspec.structs.replace(sshd.target, private_key_path=own.path)
    file = sshd.folder / "user.pub"
    file.write_text(file.read_text().rstrip("\n"))  # without a newline at its end, as people leave it
    before = file.read_text().splitlines()

    for _ in range(2):
        await authorize(sshd.target, "u1", known, line, str(file))
    assert file.read_text().splitlines() == [*before, line]
    await check_login(target, "u1", known)

    for _ in range(2):
        await unauthorize(sshd.target, "u1", known, line, str(file))
    assert file.read_text().splitlines() == before
    with pytest.raises(CairnError) as caught:
        await check_login(target, "u1", known)
    assert caught.value.code == "ssh.login-failed"
