"""Several nodes are one cloud to machines: one authority, one SSH key, the same known hosts. Each is itself all the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
from cryptography import x509
from tests.integration.test_authority import meet
from tests.integration.test_nodes import NODES, NOTICED_SECONDS, Nodes, three_nodes

from cairn.agents.config import TlsFiles
from cairn.agents.state import Record
from cairn.agents.trust import RevokedSerials, Trust
from cairn.kernel.deploy.authority import NEWS_SECONDS, Authority, Credentials
from cairn.kernel.deploy.known_hosts import KnownHosts
from cairn.kernel.deploy.own_key import OwnKey
from cairn.kernel.deploy.ssh import HostKey, SshTarget
from cairn.kernel.error import CairnError
from cairn.kernel.ids import NodeId
from cairn.kernel.plugin.loader import running_version
from cairn.testing.cloud import Json

#: a change has three parts, of two looks each at most, and the looks of nodes differ
CHANGED_SECONDS = 120


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Nodes]:
    async with three_nodes(tmp_path) as made:
        yield made


def authorities(cloud: Nodes) -> list[Authority]:
    return [node.context.authority for node in cloud.nodes.values()]


def agent(folder: Path, pair: Credentials) -> Trust:
    """The agent that was given this pair."""
    folder.mkdir()
    for name, text in (("ca", pair.authority), ("cert", pair.certificate), ("key", pair.key)):
        (folder / name).write_text(text)
    tls = TlsFiles(ca=str(folder / "ca"), cert=str(folder / "cert"), key=str(folder / "key"))
    return Trust(tls, Record(folder / "revoked", RevokedSerials))


async def test_an_agent_of_one_node_speaks_with_all_and_each_shows_who_it_is(cloud: Nodes, tmp_path: Path) -> None:
    pair = await authorities(cloud)[0].issue_agent("h1", "u1", ["127.0.0.1"])
    trust = agent(tmp_path / "agent", pair)
    shown = set()
    for authority in authorities(cloud):
        assert await authority.issue_agent("h1", "u1", ["127.0.0.1"]) == pair
        meet(trust.for_listening(), authority.client_context())
        meet(authority.server_context(), trust.for_nodes())
        own = x509.load_pem_x509_certificate(authority.issue_node().certificate.encode())
        names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        shown |= set(names.get_values_for_type(x509.UniformResourceIdentifier))
    assert shown == {f"cairn:node/{node}" for node in NODES}


async def test_an_agent_that_one_node_forgets_is_refused_by_all_a_second_later(cloud: Nodes, tmp_path: Path) -> None:
    first, *others = authorities(cloud)
    trust = agent(tmp_path / "agent", await first.issue_agent("h1", "u1", ["127.0.0.1"]))
    doors = [authority.server_context() for authority in others]
    await cloud.store.write(lambda tx: first.forget_agent(tx, "u1"))
    await cloud.clock.advance(NEWS_SECONDS * 1.1)
    for door in doors:
        with pytest.raises(OSError, match="revoked"):
            meet(door, trust.for_nodes())


async def test_host_keys_and_the_cloud_s_ssh_key_are_the_same_on_all_nodes(cloud: Nodes, tmp_path: Path) -> None:
    key, target = HostKey("ssh-ed25519", "QUFBQQ=="), SshTarget(host="198.18.0.11")
    hosts = [KnownHosts(node.context.store, tmp_path / name / "known") for name, node in cloud.nodes.items()]
    await hosts[0].check("u1", target, [key])
    for known in hosts[1:]:
        with pytest.raises(CairnError, match=r"ssh\.host-key-changed"):
            await known.check("u1", target, [HostKey("ssh-ed25519", "QkJCQg==")])
    keys = [OwnKey(node.context.store, tmp_path / name / "keys" / "key") for name, node in cloud.nodes.items()]
    assert len({await own.public() for own in keys}) == 1


async def phases(cloud: Nodes) -> list[object]:
    return [(await cloud.request(node, "GET", "/certificates"))[1]["phase"] for node in cloud.nodes]


async def rotate(cloud: Nodes, node: NodeId) -> None:
    """An administrator has the root changed, by a call to one of the nodes."""
    verb: Json = {"rotateAuthority": {}}
    status, answer = await cloud.request(node, "PUT", "/certificates/actions", verb)
    assert status in (200, 202), answer


async def test_the_root_is_changed_once_for_all_nodes_whichever_was_asked(cloud: Nodes) -> None:
    before = {authority.issuer for authority in authorities(cloud)}
    for node in NODES[1:]:
        await rotate(cloud, node)
    await cloud.clock.advance(NEWS_SECONDS * 1.1)
    assert {authority.bundle.count("BEGIN") for authority in authorities(cloud)} == {2}
    await cloud.clock.advance(CHANGED_SECONDS)

    after = {authority.issuer for authority in authorities(cloud)}
    assert await phases(cloud) == ["Settled"] * 3
    assert len(before) == len(after) == 1
    assert before != after
    for authority in authorities(cloud):
        own = x509.load_pem_x509_certificate(authority.issue_node().certificate.encode())
        assert authority.issuer in own.issuer.rfc4514_string()


async def test_a_change_of_the_root_outlives_the_node_that_takes_it_forward(cloud: Nodes) -> None:
    leader = cloud.nodes[NODES[0]].context.ring.node_of("loop:authority")
    asked = next(node for node in NODES if node != leader)
    await rotate(cloud, asked)
    await cloud.clock.advance(NEWS_SECONDS * 1.1)
    cloud.kill(leader)
    await cloud.clock.advance(NOTICED_SECONDS + CHANGED_SECONDS)
    assert await phases(cloud) == ["Settled"] * 2
    assert len({authority.issuer for authority in authorities(cloud)}) == 1


async def test_nothing_is_taken_forward_while_a_node_has_not_heard_of_it(cloud: Nodes) -> None:
    deaf = cloud.nodes[NODES[1]].context.authority

    async def hears_nothing() -> bool:
        return False

    deaf.refresh = hears_nothing  # type: ignore[method-assign]
    await rotate(cloud, NODES[0])
    await cloud.clock.advance(CHANGED_SECONDS)
    _, told = await cloud.request(NODES[0], "GET", "/certificates")
    assert (told["phase"], cast("Json", told["behind"])["management-node"]) == ("Announced", 1)
    del deaf.refresh
    await cloud.clock.advance(CHANGED_SECONDS)
    assert await phases(cloud) == ["Settled"] * 3


async def test_a_node_is_drained_by_a_call_to_any_node_and_removed_only_when_it_is_dead(cloud: Nodes) -> None:
    async def call(verb: str, path: str, body: object = None) -> Json:
        status, answer = await cloud.request(NODES[0], verb, path, body)
        assert status == 202, answer
        return (await cloud.request(NODES[0], "GET", f"/api-jobs/{answer['uuid']}?wait=60"))[1]

    path = f"/management-nodes/{NODES[2]}"
    assert (await call("PUT", f"{path}/actions", {"drainManagementNode": {}}))["state"] == "Succeeded"
    _, found = await cloud.request(NODES[1], "GET", path)
    (shown,) = cast("list[Json]", found["inventories"])
    assert (shown["state"], shown["version"]) == ("Draining", running_version())
    failed = await call("DELETE", path)
    assert cast("Json", failed["error"])["code"] == "node.still-alive"
    cloud.kill(NODES[2])
    await cloud.clock.advance(NOTICED_SECONDS)
    assert (await cloud.request(NODES[0], "DELETE", path))[0] == 404, "the others have noticed by themselves"
