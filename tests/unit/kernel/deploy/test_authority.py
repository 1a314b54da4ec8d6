from __future__ import annotations

import asyncio
import ssl
import stat
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from cairn.kernel.clock import SystemClock
from cairn.kernel.deploy.authority import LEAF_VALIDITY, NODE_UNIT, Authority, Credentials
from cairn.kernel.error import CairnError


class SetClock(SystemClock):
    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def parsed(credentials: Credentials) -> x509.Certificate:
    return x509.load_pem_x509_certificate(credentials.certificate.encode())


def agent_context(credentials: Credentials, folder: Path) -> ssl.SSLContext:
    pem = folder / "agent.pem"
    pem.write_text(credentials.certificate + credentials.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=credentials.authority)
    context.load_cert_chain(pem)
    return context


def test_open_creates_the_root_once_and_private(tmp_path: Path) -> None:
    first = Authority.open(tmp_path / "pki").certificate_path.read_text()

    again = Authority.open(tmp_path / "pki")

    assert again.certificate_path.read_text() == first
    assert mode(tmp_path / "pki") == 0o700
    assert mode(tmp_path / "pki" / "ca.key") == 0o600


def test_root_is_ecdsa_p256_valid_ten_years(tmp_path: Path) -> None:
    root = x509.load_pem_x509_certificate(Authority.open(tmp_path).certificate_path.read_bytes())

    key = root.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)
    assert root.not_valid_after_utc - root.not_valid_before_utc >= timedelta(days=3650)


def test_node_certificate_names_the_management_node(tmp_path: Path) -> None:
    certificate = parsed(Authority.open(tmp_path).issue_node(["198.18.0.1"]))

    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert f"OU={NODE_UNIT}" in certificate.subject.rfc4514_string()
    assert "198.18.0.1" in [str(ip) for ip in names.get_values_for_type(x509.IPAddress)]
    assert mode(tmp_path / "node.key") == 0o600


def test_node_certificate_keeps_addresses_it_once_had(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path)
    with_address = authority.issue_node(["198.18.0.1"])

    assert authority.issue_node() == with_address


def test_agent_gets_the_same_pair_until_its_address_changes(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path)
    first = authority.issue_agent("a", "u1", ["198.18.0.11"])

    assert authority.issue_agent("a", "u1", ["198.18.0.11"]) == first
    moved = authority.issue_agent("a", "u1", ["198.18.0.12"])
    assert moved.certificate != first.certificate
    names = parsed(moved).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["198.18.0.12"]


def test_agent_pair_is_reissued_only_when_less_than_a_third_of_its_time_is_left(tmp_path: Path) -> None:
    clock = SetClock(datetime(2030, 1, 1, tzinfo=UTC))
    authority = Authority.open(tmp_path, clock=clock)
    first = authority.issue_agent("a", "u1", ["198.18.0.11"])

    clock.at += timedelta(days=480)
    assert authority.issue_agent("a", "u1", ["198.18.0.11"]) == first
    clock.at += timedelta(days=10)
    assert authority.issue_agent("a", "u1", ["198.18.0.11"]).not_after > first.not_after


def test_forgotten_agent_leaves_no_file_and_forgetting_again_is_fine(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path)
    authority.issue_agent("a", "u1", ["198.18.0.11"])

    authority.forget_agent("u1")
    authority.forget_agent("u1")

    assert list((tmp_path / "agents").iterdir()) == []


def test_agent_of_another_authority_is_replaced(tmp_path: Path) -> None:
    old = Authority.open(tmp_path).issue_agent("a", "u1", ["198.18.0.11"])
    for file in ("ca.crt", "ca.key"):
        (tmp_path / file).unlink()

    new = Authority.open(tmp_path).issue_agent("a", "u1", ["198.18.0.11"])

    assert new.authority != old.authority
    assert new.certificate != old.certificate


def test_damaged_agent_pair_is_replaced(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path)
    authority.issue_agent("a", "u1", ["198.18.0.11"])
    (tmp_path / "agents" / "u1.crt").write_text("nonsense")

    parsed(authority.issue_agent("a", "u1", ["198.18.0.11"]))


@pytest.mark.parametrize("uuid", ["../ca", "", "a/b", "a\n"])
def test_uuid_that_could_leave_the_folder_is_refused(tmp_path: Path, uuid: str) -> None:
    with pytest.raises(CairnError) as caught:
        Authority.open(tmp_path).issue_agent("a", uuid, [])
    assert caught.value.code == "pki.bad-name"


def test_root_without_its_key_is_reported_not_replaced(tmp_path: Path) -> None:
    Authority.open(tmp_path)
    (tmp_path / "ca.key").unlink()

    with pytest.raises(CairnError, match=r"Restore the folder") as caught:
        Authority.open(tmp_path)
    assert caught.value.code == "pki.broken"


def test_root_key_alone_is_a_creation_that_crashed_and_is_made_again(tmp_path: Path) -> None:
    Authority.open(tmp_path)
    (tmp_path / "ca.crt").unlink()

    Authority.open(tmp_path).issue_node()


def test_damaged_root_is_reported(tmp_path: Path) -> None:
    Authority.open(tmp_path)
    (tmp_path / "ca.crt").write_text("nonsense")

    with pytest.raises(CairnError) as caught:
        Authority.open(tmp_path)
    assert caught.value.code == "pki.broken"


async def exchange(server: ssl.SSLContext, client: ssl.SSLContext | None, host: str) -> bytes:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname=host)
        try:
            return await reader.read()
        finally:
            writer.close()


async def test_node_and_agent_trust_each_other_whatever_the_address_is(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path / "pki")
    agent = agent_context(authority.issue_agent("a", "u1", ["198.18.0.11"]), tmp_path)

    assert await exchange(agent, authority.client_context(), "127.0.0.1") == b"hello"
    assert await exchange(authority.server_context(), agent_client(authority, tmp_path), "localhost") == b"hello"


async def test_a_certificate_of_the_cloud_that_is_no_agents_is_refused_where_agents_are_called(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path / "pki")

    with pytest.raises(ssl.SSLCertVerificationError, match="not an agent"):
        await exchange(authority.server_context(), authority.client_context(), "localhost")


async def test_a_forgotten_agent_is_refused_in_both_directions_by_contexts_that_were_there(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path / "pki")
    client, server = authority.client_context(), authority.server_context()
    earlier = agent_client(authority, tmp_path, ["198.18.0.11"])
    agent = agent_context(authority.issue_agent("a", "u1", ["198.18.0.12"]), tmp_path)
    before = (await exchange(agent, client, "127.0.0.1"), await exchange(server, earlier, "localhost"))

    Authority.open(tmp_path / "pki").forget_agent("u1")

    assert before == (b"hello", b"hello")
    with pytest.raises(ssl.SSLCertVerificationError, match="revoked"):
        await exchange(agent, client, "127.0.0.1")
    assert await nothing(server, earlier) == b""
    assert len(authority.revoked) == 2
    assert all(authority.is_revoked(serial) for serial in authority.revoked)


async def test_one_that_is_added_again_under_its_uuid_is_trusted_with_its_new_certificate_only(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path / "pki")
    old = agent_client(authority, tmp_path)
    authority.forget_agent("u1")
    new = agent_client(authority, tmp_path)

    assert await exchange(authority.server_context(), new, "localhost") == b"hello"
    assert await nothing(authority.server_context(), old) == b""


def test_certificates_that_ended_by_themselves_are_forgotten(tmp_path: Path) -> None:
    clock = SetClock(datetime.now(UTC) - LEAF_VALIDITY * 3 / 4)
    authority = Authority.open(tmp_path, clock=clock)
    authority.issue_agent("a", "u1", [])
    authority.forget_agent("u1")
    (first,) = authority.revoked
    clock.at += LEAF_VALIDITY + timedelta(days=1)
    authority.issue_agent("a", "u2", [])
    authority.forget_agent("u2")

    assert len(authority.revoked) == 1
    assert not authority.is_revoked(first)


async def test_a_nodes_renewed_certificate_is_shown_by_the_contexts_that_are_in_use(tmp_path: Path) -> None:
    clock = SetClock(datetime.now(UTC) - LEAF_VALIDITY * 3 / 4)
    authority = Authority.open(tmp_path / "pki", clock=clock)
    server = authority.server_context()
    ends = authority.ends()["node",]
    clock.at += LEAF_VALIDITY * 3 / 4
    authority.issue_node()

    assert authority.ends()["node",] > ends
    assert authority.ends()["authority",] > authority.ends()["node",]
    assert await shown_end(server, agent_client(authority, tmp_path)) == authority.ends()["node",]


def test_an_agents_pair_is_renewed_for_the_same_name_and_addresses_when_it_nears_its_end(tmp_path: Path) -> None:
    clock = SetClock(datetime.now(UTC) - LEAF_VALIDITY * 3 / 4)
    authority = Authority.open(tmp_path, clock=clock)
    first = authority.issue_agent("host-1", "u1", ["198.18.0.11"])

    assert authority.renewed_agent("u1") == first
    clock.at += LEAF_VALIDITY * 3 / 4
    renewed = authority.renewed_agent("u1")

    assert renewed is not None
    assert renewed.not_after > first.not_after
    assert renewed == authority.issue_agent("host-1", "u1", ["198.18.0.11"])
    assert authority.renewed_agent("u2") is None


def agent_client(authority: Authority, folder: Path, addresses: Sequence[str] = ("127.0.0.1",)) -> ssl.SSLContext:
    """An agent as a client of the node's."""
    credentials = authority.issue_agent("a", "u1", addresses)
    pair = folder / f"client-{credentials.not_after.timestamp()}-{len(list(folder.iterdir()))}.pem"
    pair.write_text(credentials.certificate + credentials.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority.certificate_path)
    context.load_cert_chain(pair)
    return context


async def nothing(server: ssl.SSLContext, client: ssl.SSLContext) -> bytes:
    """What a client gets that the server throws out after its own handshake."""
    try:
        return await exchange(server, client, "localhost")
    except (ssl.SSLError, ConnectionError):
        return b""


async def shown_end(server: ssl.SSLContext, client: ssl.SSLContext) -> float:
    """When the certificate ends that a server shows."""
    listener = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=server)
    client.check_hostname = False
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname="localhost")
        certificate = writer.get_extra_info("peercert")
        writer.close()
    return float(ssl.cert_time_to_seconds(certificate["notAfter"]))


async def test_agent_of_another_cloud_is_refused(tmp_path: Path) -> None:
    other = Authority.open(tmp_path / "other")
    agent = agent_context(other.issue_agent("a", "u1", ["127.0.0.1"]), tmp_path)

    with pytest.raises(ssl.SSLCertVerificationError):
        await exchange(agent, Authority.open(tmp_path / "pki").client_context(), "127.0.0.1")


async def test_client_without_certificate_gets_nothing_from_the_node(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path / "pki")
    anonymous = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anonymous.load_verify_locations(authority.certificate_path)

    try:
        received = await exchange(authority.server_context(), anonymous, "localhost")
    except (ssl.SSLError, ConnectionError):
        received = b""
    assert received == b""
