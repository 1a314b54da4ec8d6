from __future__ import annotations

import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from tests.unit.agents.certificates import TestAuthority

from cairn.agents import trust as module
from cairn.agents.config import TlsFiles
from cairn.agents.errors import AgentError
from cairn.agents.protocol import codes
from cairn.agents.protocol.trust import RenewTrust, revocation_of, trust_of
from cairn.agents.state import Record
from cairn.agents.trust import RevokedSerials, Trust

HOST = "cairn:agent/h1"


class World:
    """An agent's certificate in a folder."""

    def __init__(self, folder: Path) -> None:
        self.authority = TestAuthority(folder / "pki")
        self.files = self.authority.issue("h1", HOST)
        self.record = Record(folder / "revoked.json", RevokedSerials)

    def trust(self) -> Trust:
        return Trust(self.files, self.record)

    def new(self, name: str = "new") -> RenewTrust:
        files = self.authority.issue(name, HOST)
        return RenewTrust(revoked=["ff"], certificate=Path(files.cert).read_text(), key=Path(files.key).read_text())


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def text_of(files: TlsFiles) -> str:
    return Path(files.cert).read_text()


def roots_of(files: TlsFiles) -> str:
    return Path(files.ca).read_text()


def end_of(files: TlsFiles) -> float:
    return x509.load_pem_x509_certificate(text_of(files).encode()).not_valid_after_utc.timestamp()


def mode_of_key(files: TlsFiles) -> int:
    return stat.S_IMODE(Path(files.key).stat().st_mode)


def shown(context: ssl.SSLContext | None, files: TlsFiles) -> int:
    """The serial number of the certificate that a context in use shows to others."""
    assert context is not None
    calling = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    calling.check_hostname = False
    calling.load_verify_locations(files.ca)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    server, client = context.wrap_bio(up, down, server_side=True), calling.wrap_bio(down, up)
    for end in (client, server, client):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    certificate = client.getpeercert()
    assert certificate is not None
    return int(str(certificate["serialNumber"]), 16)


def serial_of(pem: str | None) -> int:
    assert pem is not None
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


def test_the_end_of_its_certificate_is_known(world: World) -> None:
    assert world.trust().certificate_ends == end_of(world.files)


async def test_a_new_certificate_is_shown_by_the_contexts_in_use_and_after_a_restart(world: World) -> None:
    trust, command = world.trust(), world.new()
    listening = trust.for_listening()
    await trust.renew(command)
    await trust.renew(command)

    assert shown(listening, world.files) == serial_of(command.certificate)
    assert shown(world.trust().for_listening(), world.files) == serial_of(command.certificate)
    assert mode_of_key(world.files) == 0o600


async def test_what_is_revoked_is_known_at_once_and_after_a_restart(world: World) -> None:
    trust = world.trust()
    before = trust.revocation
    await trust.renew(RenewTrust(revoked=["ff"]))

    assert before == ""
    assert trust.revocation == world.trust().revocation == revocation_of(["ff"])
    assert trust.certificate_ends == end_of(world.files), "without a new certificate the old one stays"


async def test_a_certificate_and_a_key_that_do_not_fit_change_nothing(world: World) -> None:
    trust, before = world.trust(), text_of(world.files)
    mixed = RenewTrust(revoked=[], certificate=world.new("a").certificate, key=world.new("b").key)

    with pytest.raises(AgentError) as caught:
        await trust.renew(mixed)

    assert caught.value.code == codes.BAD_REQUEST
    assert text_of(world.files) == before
    assert shown(world.trust().for_listening(), world.files) == serial_of(before)


@pytest.mark.parametrize("crash_at", ["before", "between"])
async def test_a_replacement_that_was_broken_off_leaves_a_pair_that_fits(
    world: World, crash_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust, command, old = world.trust(), world.new(), text_of(world.files)

    def crash(files: TlsFiles) -> None:
        if crash_at == "between":
            Path(f"{files.key}.new").replace(files.key)
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(module, "_move", crash)
        with pytest.raises(OSError, match="power cut"):
            await trust.renew(command)

    expected = serial_of(old if crash_at == "before" else command.certificate)
    assert shown(world.trust().for_listening(), world.files) == expected


async def test_roots_that_are_none_are_refused_and_change_nothing(world: World) -> None:
    trust, before = world.trust(), roots_of(world.files)

    with pytest.raises(AgentError) as caught:
        await trust.renew(RenewTrust(revoked=[], authority="no certificate"))

    assert caught.value.code == codes.BAD_REQUEST
    assert (roots_of(world.files), trust.roots) == (before, trust_of(["ca"]))


async def test_without_tls_there_is_nothing_to_renew(world: World) -> None:
    trust = Trust(None, world.record)

    with pytest.raises(AgentError) as caught:
        await trust.renew(world.new())

    assert caught.value.code == codes.MISSING_FEATURE
    assert (trust.for_listening(), trust.for_nodes(), trust.for_machines()) == (None, None, None)
    assert trust.certificate_ends == 0.0
