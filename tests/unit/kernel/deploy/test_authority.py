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
from cairn.kernel.deploy.model import ONLY, AgentPair, SharedAuthority
from cairn.kernel.deploy.roots import Phase
from cairn.kernel.error import CairnError
from cairn.testing.shared import authority_in, forget_agent, shared_store


class SetClock(SystemClock):
    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def parsed(credentials: Credentials) -> x509.Certificate:
    return x509.load_pem_x509_certificate(credentials.certificate.encode())


async def two_nodes(folder: Path) -> list[Authority]:
    """The authority as two nodes have it."""
    return [await Authority.open(await shared_store(folder), folder / name, node=name) for name in ("a", "b")]


async def forget(folder: Path, authority: Authority, uuid: str) -> None:
    """One of the two forgets an agent."""
    store = await shared_store(folder)
    await store.write(lambda tx: authority.forget_agent(tx, uuid))


def agent_context(credentials: Credentials, folder: Path) -> ssl.SSLContext:
    pem = folder / "agent.pem"
    pem.write_text(credentials.certificate + credentials.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=credentials.authority)
    context.load_cert_chain(pem)
    return context


async def test_the_first_node_makes_the_root_and_the_others_find_it(tmp_path: Path) -> None:
    first, again = await authority_in(tmp_path / "pki"), await authority_in(tmp_path / "pki")

    assert first.certificate_path.read_text() == first.bundle == again.bundle
    assert mode(tmp_path / "pki") == 0o700


async def test_no_key_but_the_nodes_own_lies_in_the_folder_or_in_clear_in_the_database(tmp_path: Path) -> None:
    authority = await authority_in(tmp_path / "pki")
    pair = await authority.issue_agent("a", "u1", ["198.18.0.11"])
    await authority.announce_root()
    authority.issue_node()

    content = {path.name: path.read_bytes() for path in (tmp_path / "pki").iterdir()}
    assert [name for name, text in content.items() if b"PRIVATE KEY" in text] == ["node.key"]
    assert pair.key.splitlines()[1].encode() not in b"".join(content.values())


async def test_root_is_ecdsa_p256_valid_ten_years(tmp_path: Path) -> None:
    root = x509.load_pem_x509_certificate((await authority_in(tmp_path)).certificate_path.read_bytes())

    key = root.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)
    assert root.not_valid_after_utc - root.not_valid_before_utc >= timedelta(days=3650)


async def test_node_certificate_names_the_management_node(tmp_path: Path) -> None:
    certificate = parsed((await authority_in(tmp_path)).issue_node(["198.18.0.1"]))

    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert f"OU={NODE_UNIT}" in certificate.subject.rfc4514_string()
    assert "198.18.0.1" in [str(ip) for ip in names.get_values_for_type(x509.IPAddress)]
    assert mode(tmp_path / "node.key") == 0o600


async def test_node_certificate_keeps_addresses_it_once_had(tmp_path: Path) -> None:
    authority = await authority_in(tmp_path)
    with_address = authority.issue_node(["198.18.0.1"])

    assert authority.issue_node() == with_address


async def test_agent_gets_the_same_pair_until_its_address_changes(tmp_path: Path) -> None:
    authority = await authority_in(tmp_path)
    first = await authority.issue_agent("a", "u1", ["198.18.0.11"])

    assert await authority.issue_agent("a", "u1", ["198.18.0.11"]) == first
    moved = await authority.issue_agent("a", "u1", ["198.18.0.12"])
    assert moved.certificate != first.certificate
    names = parsed(moved).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["198.18.0.12"]


async def test_agent_pair_is_reissued_only_when_less_than_a_third_of_its_time_is_left(tmp_path: Path) -> None:
    clock = SetClock(datetime(2030, 1, 1, tzinfo=UTC))
    authority = await authority_in(tmp_path, clock=clock)
    first = await authority.issue_agent("a", "u1", ["198.18.0.11"])

    clock.at += timedelta(days=480)
    assert await authority.issue_agent("a", "u1", ["198.18.0.11"]) == first
    clock.at += timedelta(days=10)
    assert (await authority.issue_agent("a", "u1", ["198.18.0.11"])).not_after > first.not_after


async def test_forgotten_agent_leaves_nothing_and_forgetting_again_is_fine(tmp_path: Path) -> None:
    authority = await authority_in(tmp_path)
    await authority.issue_agent("a", "u1", ["198.18.0.11"])

    await forget_agent(authority, "u1")
    await forget_agent(authority, "u1")

    store = await shared_store(tmp_path)
    assert await store.read(lambda tx: tx.count(AgentPair)) == 0
    assert await authority.renewed_agent("u1") is None


@pytest.mark.parametrize("damaged", ["certificate", "private_key"])
async def test_damaged_agent_pair_is_replaced(tmp_path: Path, damaged: str) -> None:
    authority, store = await authority_in(tmp_path), await shared_store(tmp_path)
    first = await authority.issue_agent("a", "u1", ["198.18.0.11"])
    await store.write(lambda tx: tx.update(AgentPair, "u1", **{damaged: "nonsense"}))

    parsed(await authority.issue_agent("a", "u1", ["198.18.0.11"]))
    await forget_agent(authority, "u1")
    assert authority.is_revoked(parsed(first).serial_number)


async def test_two_nodes_that_need_a_pair_at_once_hand_out_the_same_one(tmp_path: Path) -> None:
    one, two = await two_nodes(tmp_path)
    for addresses in (["198.18.0.11"], ["198.18.0.12"]):
        pairs = await asyncio.gather(*(node.issue_agent("a", "u1", addresses) for node in (one, two)))
        assert pairs[0] == pairs[1]


@pytest.mark.parametrize("uuid", ["../ca", "", "a/b", "a\n"])
async def test_uuid_that_could_leave_the_folder_is_refused(tmp_path: Path, uuid: str) -> None:
    with pytest.raises(CairnError) as caught:
        await (await authority_in(tmp_path)).issue_agent("a", uuid, [])
    assert caught.value.code == "pki.bad-name"


@pytest.mark.parametrize("damaged", ["certificate", "private_key"])
async def test_damaged_root_is_reported_and_not_replaced(tmp_path: Path, damaged: str) -> None:
    await authority_in(tmp_path)
    store = await shared_store(tmp_path)
    await store.write(lambda tx: tx.update(SharedAuthority, ONLY, **{damaged: "nonsense"}))

    with pytest.raises(CairnError, match="Restore the database") as caught:
        await authority_in(tmp_path)
    assert caught.value.code == "pki.broken"


async def test_what_one_node_changes_the_others_know_when_they_have_looked(tmp_path: Path) -> None:
    one, two = await two_nodes(tmp_path)
    pair = await one.issue_agent("a", "u1", ["198.18.0.11"])
    assert not await two.refresh()
    await forget(tmp_path, one, "u1")

    assert (one.is_revoked(parsed(pair).serial_number), two.is_revoked(parsed(pair).serial_number)) == (True, False)
    assert await two.refresh()
    assert two.is_revoked(parsed(pair).serial_number)
    for part in (one.announce_root, one.use_next_root, one.withdraw_root):
        await part()
        assert await two.refresh()
        assert (two.issuer, two.trust, two.phase) == (one.issuer, one.trust, one.phase)
        assert two.certificate_path.read_text() == one.bundle
    assert not await two.refresh()


async def test_a_node_takes_no_change_further_that_another_has_taken_further_already(tmp_path: Path) -> None:
    one, two = await two_nodes(tmp_path)
    await one.announce_root()
    await two.refresh()
    await one.use_next_root()

    await two.use_next_root()  # it takes it for announced still
    assert (two.phase, two.issuer) == (Phase.RENEWING, one.issuer)
    await one.withdraw_root()
    await one.announce_root()
    await two.withdraw_root()
    assert two.phase is Phase.ANNOUNCED


async def test_a_change_is_begun_once_by_two_nodes_at_once_and_revocations_do_not_disturb_it(tmp_path: Path) -> None:
    one, two = await two_nodes(tmp_path)
    await one.issue_agent("a", "u1", [])
    await asyncio.gather(one.announce_root(), forget(tmp_path, two, "u1"), two.announce_root())
    await one.refresh()
    assert (one.trust, one.phase) == (two.trust, Phase.ANNOUNCED)
    assert one.bundle.count("BEGIN") == 2


async def test_a_nodes_certificate_is_of_the_new_root_as_soon_as_the_node_has_heard_of_it(tmp_path: Path) -> None:
    one, two = await two_nodes(tmp_path)
    two.issue_node()
    for part in (one.announce_root, one.use_next_root):
        await part()
        await two.refresh()
    issuer = parsed(two.issue_node()).issuer.rfc4514_string()
    assert one.issuer in issuer


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
    authority = await authority_in(tmp_path / "pki")
    agent = agent_context(await authority.issue_agent("a", "u1", ["198.18.0.11"]), tmp_path)

    assert await exchange(agent, authority.client_context(), "127.0.0.1") == b"hello"
    assert await exchange(authority.server_context(), await agent_client(authority, tmp_path), "localhost") == b"hello"


async def test_a_certificate_of_the_cloud_that_is_no_agents_is_refused_where_agents_are_called(tmp_path: Path) -> None:
    authority = await authority_in(tmp_path / "pki")

    with pytest.raises(ssl.SSLCertVerificationError, match="not an agent"):
        await exchange(authority.server_context(), authority.client_context(), "localhost")


async def test_a_forgotten_agent_is_refused_in_both_directions_by_contexts_that_were_there(tmp_path: Path) -> None:
    authority = await authority_in(tmp_path / "pki")
    client, server = authority.client_context(), authority.server_context()
    earlier = await agent_client(authority, tmp_path, ["198.18.0.11"])
    agent = agent_context(await authority.issue_agent("a", "u1", ["198.18.0.12"]), tmp_path)
    before = (await exchange(agent, client, "127.0.0.1"), await exchange(server, earlier, "localhost"))

    await forget_agent(await authority_in(tmp_path / "pki"), "u1")
    await authority.refresh()

    assert before == (b"hello", b"hello")
    with pytest.raises(ssl.SSLCertVerificationError, match="revoked"):
        await exchange(agent, client, "127.0.0.1")
    assert await nothing(server, earlier) == b""
    assert len(authority.revoked) == 2
    assert all(authority.is_revoked(serial) for serial in authority.revoked)


async def test_one_that_is_added_again_under_its_uuid_is_trusted_with_its_new_certificate_only(tmp_path: Path) -> None:
    authority = await authority_in(tmp_path / "pki")
    old = await agent_client(authority, tmp_path)
    await forget_agent(authority, "u1")
    new = await agent_client(authority, tmp_path)

    assert await exchange(authority.server_context(), new, "localhost") == b"hello"
    assert await nothing(authority.server_context(), old) == b""


async def test_certificates_that_ended_by_themselves_are_forgotten(tmp_path: Path) -> None:
    clock = SetClock(datetime.now(UTC) - LEAF_VALIDITY * 3 / 4)
    authority = await authority_in(tmp_path, clock=clock)
    await authority.issue_agent("a", "u1", [])
    await forget_agent(authority, "u1")
    (first,) = authority.revoked
    clock.at += LEAF_VALIDITY + timedelta(days=1)
    await authority.issue_agent("a", "u2", [])
    await forget_agent(authority, "u2")

    assert len(authority.revoked) == 1
    assert not authority.is_revoked(first)


async def test_a_nodes_renewed_certificate_is_shown_by_the_contexts_that_are_in_use(tmp_path: Path) -> None:
    clock = SetClock(datetime.now(UTC) - LEAF_VALIDITY * 3 / 4)
    authority = await authority_in(tmp_path / "pki", clock=clock)
    server = authority.server_context()
    ends = authority.ends()["node",]
    clock.at += LEAF_VALIDITY * 3 / 4
    authority.issue_node()

    assert authority.ends()["node",] > ends
    assert authority.ends()["authority",] > authority.ends()["node",]
    assert await shown_end(server, await agent_client(authority, tmp_path)) == authority.ends()["node",]


async def test_an_agents_pair_is_renewed_for_the_same_name_and_addresses_when_it_nears_its_end(tmp_path: Path) -> None:
    clock = SetClock(datetime.now(UTC) - LEAF_VALIDITY * 3 / 4)
    authority = await authority_in(tmp_path, clock=clock)
    first = await authority.issue_agent("host-1", "u1", ["198.18.0.11"])

    assert await authority.renewed_agent("u1") == first
    clock.at += LEAF_VALIDITY * 3 / 4
    renewed = await authority.renewed_agent("u1")

    assert renewed is not None
    assert renewed.not_after > first.not_after
    assert renewed == await authority.issue_agent("host-1", "u1", ["198.18.0.11"])
    assert await authority.renewed_agent("u2") is None


async def agent_client(authority: Authority, folder: Path, addresses: Sequence[str] = ("127.0.0.1",)) -> ssl.SSLContext:
    """An agent as a client of the node's."""
    credentials = await authority.issue_agent("a", "u1", addresses)
    pair = folder / f"client-{credentials.not_after.timestamp()}-{parsed(credentials).serial_number:x}.pem"
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
    other = await authority_in(tmp_path / "other")
    agent = agent_context(await other.issue_agent("a", "u1", ["127.0.0.1"]), tmp_path)

    with pytest.raises(ssl.SSLCertVerificationError):
        await exchange(agent, (await authority_in(tmp_path / "pki")).client_context(), "127.0.0.1")


async def test_client_without_certificate_gets_nothing_from_the_node(tmp_path: Path) -> None:
    authority = await authority_in(tmp_path / "pki")
    anonymous = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anonymous.load_verify_locations(authority.certificate_path)

    try:
        received = await exchange(authority.server_context(), anonymous, "localhost")
    except (ssl.SSLError, ConnectionError):
        received = b""
    assert received == b""
