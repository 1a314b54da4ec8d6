from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from cairn.agents.protocol.peer import Peer, PeerRole, peer_uri
from cairn.kernel.deploy.model import AgentPair, KnownHost, SharedAuthority, SshKeyPair
from cairn.kernel.deploy.moving import move_in, read_earlier, remove_moved, root_name
from cairn.kernel.deploy.pairs import all_serials, pair_of, revoked_since
from cairn.kernel.deploy.pem import Pair, builder, certificate_pem, common_name, subject_of, write_pair
from cairn.kernel.deploy.roots import Phase, make_root, roots_in
from cairn.kernel.error import CairnError
from cairn.testing.shared import shared_store

NOW = datetime.now(UTC)
LATER = int((NOW + timedelta(days=9)).timestamp())


class OldFolder:
    """A data folder as the version before left it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.pki, self.ssh = folder, folder / "pki", folder / "ssh"
        for made in (self.pki / "agents", self.ssh / "known_hosts", self.ssh / "keys"):
            made.mkdir(parents=True)
        self.root = self.put("ca", make_root(NOW))
        self.agent = self.put("agents/u1", self.signed("agent host-1", Peer(PeerRole.AGENT, "u1")))
        self.node = self.put("node", self.signed("cairn management node", Peer(PeerRole.NODE, "n1")))
        (self.pki / "agents" / "u1.old").write_text(f"ab {LATER}\n")
        (self.pki / "revoked").write_text(f"cd {LATER}\n")
        (self.ssh / "known_hosts" / "u1").write_text("u1 ssh-ed25519 QUFBQQ==\nu1 ssh-rsa Q0NDQw==\n")
        (self.ssh / "known_hosts" / "u2.new").write_text("u2 ssh-rsa Q0N")
        (self.ssh / "keys" / "cairn.key").write_text("THE KEY\n")

    def signed(self, name: str, who: Peer) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        made = builder(subject_of(name, "unit"), self.root.certificate.subject, key, NOW, NOW + timedelta(days=9))
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(peer_uri(who.role, who.uuid))])
        return Pair(made.add_extension(names, critical=False).sign(self.root.key, hashes.SHA256()), key)

    def put(self, name: str, pair: Pair) -> Pair:
        write_pair(self.pki / f"{name}.crt", self.pki / f"{name}.key", pair)
        return pair

    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())


@pytest.fixture
def old(tmp_path: Path) -> OldFolder:
    return OldFolder(tmp_path / "data")


async def test_all_that_the_nodes_share_is_moved_and_nothing_of_it_is_in_clear_afterwards(
    old: OldFolder, tmp_path: Path
) -> None:
    store = await shared_store(tmp_path / "db")
    earlier = read_earlier(old.folder)
    await store.write(lambda tx: move_in(tx, earlier))
    remove_moved(old.folder)
    remove_moved(old.folder)

    (authority,) = await store.read(lambda tx: tx.find(SharedAuthority))
    assert roots_in(authority).current.certificate == old.root.certificate
    (pair,) = await store.read(lambda tx: tx.find(AgentPair))
    found = pair_of(pair)
    assert found is not None
    assert found.certificate == old.agent.certificate
    assert set(all_serials(pair)) == {old.agent.certificate.serial_number, 0xAB}
    assert await store.read(lambda tx: revoked_since(tx, -1)) == {0xCD: float(LATER)}
    (host,) = await store.read(lambda tx: tx.find(KnownHost))
    assert (host.uuid, host.host_keys) == ("u1", "ssh-ed25519 QUFBQQ==\nssh-rsa Q0NDQw==\n")
    (key,) = await store.read(lambda tx: tx.find(SshKeyPair))
    assert key.private_key == "THE KEY\n"
    own = ["pki/ca.crt", "pki/node.crt", "pki/node.key"]
    copies = ["ssh/keys/cairn.key", "ssh/known_hosts/u1", "ssh/known_hosts/u2.new"]
    assert old.files() == own + copies
    await store.close()


async def test_a_folder_with_nothing_gives_nothing(tmp_path: Path) -> None:
    store, earlier = await shared_store(tmp_path / "db"), read_earlier(tmp_path / "data")
    await store.write(lambda tx: move_in(tx, earlier))
    assert await store.read(lambda tx: tx.count(SharedAuthority) + tx.count(KnownHost) + tx.count(SshKeyPair)) == 0
    assert root_name(tmp_path / "data") is None


def test_a_change_of_the_root_goes_on_where_it_was(old: OldFolder) -> None:
    following = old.put("next", make_root(NOW))
    announced = read_earlier(old.folder).authority
    assert announced is not None
    name = common_name(following.certificate.subject)
    assert (roots_in(announced).phase, roots_in(announced).names[1]) == (Phase.ANNOUNCED, name)

    # The certificate of the root that signed lies beside the new one: a crash came before that took its place.
    (old.pki / "former.crt").write_bytes(certificate_pem(old.root.certificate))
    broken_off = read_earlier(old.folder).authority
    old.put("ca", following)
    half = read_earlier(old.folder).authority
    for path in old.pki.glob("next.*"):
        path.unlink()
    whole = read_earlier(old.folder).authority
    for row in (broken_off, half, whole):
        assert row is not None
        roots = roots_in(row)
        former = common_name(old.root.certificate.subject)
        assert (roots.phase, roots.names, row.next_private_key) == (Phase.RENEWING, (name, former), None)


def test_half_a_root_is_reported_and_a_lone_key_was_never_in_use(old: OldFolder) -> None:
    kept = (old.pki / "ca.key").read_bytes()
    (old.pki / "ca.key").unlink()
    with pytest.raises(CairnError, match=r"ca\.key") as caught:
        read_earlier(old.folder)
    assert caught.value.code == "pki.broken"
    (old.pki / "ca.crt").unlink()
    (old.pki / "ca.key").write_bytes(kept)
    assert read_earlier(old.folder).authority is None


def test_a_damaged_pair_of_an_agent_is_left_out(old: OldFolder) -> None:
    (old.pki / "agents" / "u1.key").write_text("nonsense")
    assert read_earlier(old.folder).pairs == []


def test_the_root_whose_key_is_there_names_the_cloud(old: OldFolder) -> None:
    assert root_name(old.folder) == common_name(old.root.certificate.subject)
    remove_moved(old.folder)
    assert root_name(old.folder) is None
