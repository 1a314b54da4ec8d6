"""The root of a cloud is changed while node and agents speak with each other, over real TLS."""

from __future__ import annotations

import shutil
import ssl
from pathlib import Path

import pytest

from cairn.agents.config import TlsFiles
from cairn.agents.protocol.peer import PeerContext, WrongPeer
from cairn.agents.protocol.trust import RenewTrust
from cairn.agents.state import Record
from cairn.agents.trust import RevokedSerials, Trust
from cairn.kernel.deploy.authority import Authority, Credentials
from cairn.testing.cloud import Cloud
from cairn.testing.shared import authority_in


def meet(listening: PeerContext | None, calling: ssl.SSLContext | None) -> None:
    """A handshake in memory. Raises what one of the two refuses the other with."""
    assert listening is not None and calling is not None
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [calling.wrap_bio(down, up), listening.wrap_bio(up, down, server_side=True)]
    for end in (*ends, *ends):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue


class Site:
    """A node's authority and the agent of one machine; both made their contexts once, at their start."""

    def __init__(self, folder: Path, authority: Authority, made: Credentials) -> None:
        self.folder = folder
        self.authority = authority
        files = folder / "agent"
        files.mkdir()
        for name, text in (("ca", made.authority), ("cert", made.certificate), ("key", made.key)):
            (files / name).write_text(text)
        self.trust = self.agent(files)
        self.node = (self.authority.client_context(), self.authority.server_context())
        self.machine = (self.trust.for_listening(), self.trust.for_nodes())

    def agent(self, files: Path) -> Trust:
        tls = TlsFiles(ca=str(files / "ca"), cert=str(files / "cert"), key=str(files / "key"))
        return Trust(tls, Record(files / "revoked", RevokedSerials))

    def speak(self) -> None:
        """Node and agent call each other."""
        meet(self.machine[0], self.node[0])
        meet(self.node[1], self.machine[1])

    async def tell(self) -> None:
        """The agent is told, as after a ping."""
        made = await self.authority.renewed_agent("u1")
        assert made is not None
        command = RenewTrust(revoked=[], certificate=made.certificate, key=made.key, authority=self.authority.bundle)
        for _ in range(2):
            await self.trust.renew(command)
        assert (self.trust.issuer, self.trust.roots) == (self.authority.issuer, self.authority.trust)


@pytest.fixture
async def site(tmp_path: Path) -> Site:
    authority = await authority_in(tmp_path / "pki")
    return Site(tmp_path, authority, await authority.issue_agent("h1", "u1", ["127.0.0.1"]))


async def test_node_and_agent_speak_at_every_moment_of_a_change(site: Site) -> None:
    first = site.authority.issuer
    site.speak()
    for part in (site.authority.announce_root, site.authority.use_next_root, site.authority.withdraw_root):
        await part()
        site.speak()
        await site.tell()
        site.speak()
    assert site.authority.issuer != first
    assert site.authority.bundle.count("BEGIN") == 1


async def test_what_the_former_root_signed_is_worth_nothing_once_it_is_withdrawn(site: Site) -> None:
    shutil.copytree(site.folder / "agent", site.folder / "away")
    away = site.agent(site.folder / "away")
    thief = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # it has the former pair, and takes anybody for the node
    thief.check_hostname, thief.verify_mode = False, ssl.CERT_NONE
    thief.load_cert_chain(site.folder / "away" / "cert", site.folder / "away" / "key")
    meet(site.node[1], thief)
    for part in (site.authority.announce_root, site.authority.use_next_root, site.authority.withdraw_root):
        await part()
        await site.tell()
    for listening in (site.node[1], site.machine[0]):
        with pytest.raises(WrongPeer, match="not trusted any more"):
            meet(listening, thief)
    with pytest.raises(ssl.SSLError):
        meet(away.for_listening(), site.node[0])


async def test_an_administrator_changes_the_root_and_a_kill_does_not_stop_it() -> None:
    async with Cloud.open(hosts=1) as cloud:
        await cloud.make_site()
        first = cloud.node.context.authority.issuer
        await cloud.call("RotateAuthority")
        await cloud.revive()
        assert (await cloud.request("GET", "/v1/certificates"))[1]["phase"] == "Announced"
        await cloud.quiet(600)
        _, told = await cloud.request("GET", "/v1/certificates")
        assert (told["phase"], told["behind"]) == ("Settled", {})
        assert cloud.node.context.authority.issuer != first
