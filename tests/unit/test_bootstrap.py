"""A node put together as its process does it, on a data folder of its own."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import ssl
from pathlib import Path

import pytest
import structlog
from cryptography import x509
from tests.ports import free_port
from tests.unit.kernel.deploy.test_moving import OldFolder

from cairn import bootstrap
from cairn.bootstrap import CORE_MIGRATIONS, Node, load_plugins, migration_folders
from cairn.kernel.deploy.pem import certificate_pem, common_name
from cairn.kernel.error import CairnError
from cairn.kernel.membership import ManagementNode
from cairn.kernel.plugin.loader import running_version
from cairn.kernel.readiness import Readiness
from cairn.kernel.resource import Resource
from cairn.kernel.settings import Settings, load
from cairn.kernel.tag import SystemTag
from cairn.services.zone.model import Zone
from cairn.testing.cloud import Cloud

PASSWORD = "correct horse battery"


def settings(folder: Path, **more: str) -> Settings:
    return load({}, data_dir=folder, listen="127.0.0.1:0", agent_listen="", admin_password=PASSWORD, **more)


async def test_a_node_listens_once_it_is_started_and_leaves_its_folder_free(tmp_path: Path) -> None:
    node = await Node.build(settings(tmp_path))
    assert (node.readiness().reasons, node.addresses) == (["it is starting or stopping"], [])
    await node.start()
    assert node.readiness().ready
    ((_, port),) = node.addresses
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 200")
    writer.close()
    await node.stop()
    assert not node.readiness().ready
    again = await Node.build(settings(tmp_path))
    assert again.context.node == node.context.node
    await again.stop()


async def _get(port: int, path: str, tls: ssl.SSLContext | None = None) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer


async def test_api_over_tls_and_metrics_at_an_address_of_their_own(tmp_path: Path) -> None:
    node = await Node.build(settings(tmp_path, tls="always", metrics_listen="127.0.0.1:0"))
    await node.start()
    (_, api), (_, metrics) = node.addresses
    trusted = ssl.create_default_context(cafile=tmp_path / "pki" / "ca.crt")
    assert (await _get(api, "/readyz", trusted)).startswith(b"HTTP/1.1 200")
    assert (await _get(api, "/metrics", trusted)).startswith(b"HTTP/1.1 401")
    assert b"cairn_jobs" in await _get(metrics, "/metrics")
    assert (await _get(metrics, "/v1/zones")).startswith(b"HTTP/1.1 404")
    assert b"200" not in await _get(api, "/readyz"), "plain HTTP is not answered there"
    await node.stop()


async def test_node_without_the_key_of_its_secrets_does_not_start_and_says_what_is_missing(tmp_path: Path) -> None:
    node = await Node.build(settings(tmp_path))
    await node.stop()
    key = tmp_path / "secret.key"
    kept = key.read_bytes()
    key.unlink()
    with pytest.raises(CairnError, match=str(key)) as caught:
        await Node.build(settings(tmp_path))
    assert caught.value.code == "secret.key-missing"
    other = tmp_path / "elsewhere"
    other.write_bytes(kept)
    other.chmod(0o600)
    again = await Node.build(settings(tmp_path, secret_key_file=str(other)))
    assert again.context.node == node.context.node
    await again.stop()


async def test_user_data_in_tags_of_an_earlier_version_is_sealed_at_the_start(tmp_path: Path) -> None:
    node = await Node.build(settings(tmp_path))
    vm = Resource(uuid="vm", type="VmInstance", name="web", create_date=node.context.clock.now())
    await node.context.store.write(lambda tx: tx.insert(vm))
    tag = SystemTag(
        uuid="a", resource_uuid="vm", resource_type="VmInstance", tag="userdata::QUJD", create_date=vm.create_date
    )
    await node.context.store.write(lambda tx: tx.insert(tag))
    await node.stop()
    assert b"QUJD" in (tmp_path / "cairn.db").read_bytes()
    again = await Node.build(settings(tmp_path))
    (found,) = await again.context.store.read(lambda tx: tx.find(SystemTag))
    await again.stop()
    assert found.text == "userdata::QUJD"
    assert b"QUJD" not in (tmp_path / "cairn.db").read_bytes()


async def test_node_that_cannot_write_is_not_ready_and_says_why_until_it_can(tmp_path: Path) -> None:
    node = await Node.build(settings(tmp_path))
    await node.start()
    await node.context.store.write(lambda tx: None)
    node.context.store._writer.drop(OSError("no disk"))
    assert node.readiness().reasons == ["the database cannot be written; the log says why"]
    await node.context.store.write(lambda tx: None)
    assert node.readiness().ready
    await node.stop()


async def test_loop_that_is_behind_is_named_and_the_node_is_ready_all_the_same() -> None:
    async def fail() -> None:
        raise KeyError("surprise")

    async with Cloud.open(hosts=1) as cloud:
        cloud.node.context.loops.every("counting of sheep", lambda: 10.0, fail)
        await cloud.quiet(91)
        assert cloud.node.readiness() == Readiness(behind=["counting of sheep: last done 91 s ago"])


async def test_node_whose_broker_is_away_says_so_and_takes_calls_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cairn.kernel.bus.rabbit.START_SECONDS", 0.1)
    node = await Node.build(settings(tmp_path, broker=f"amqp://127.0.0.1:{free_port()}"))
    await node.start(serve=False)
    readiness = node.readiness()
    await node.stop()
    assert readiness.ready
    assert [line for line in readiness.behind if "broker" in line] != []


async def test_two_nodes_cannot_share_a_folder(tmp_path: Path) -> None:
    node = await Node.build(settings(tmp_path))
    with pytest.raises(CairnError) as caught:
        await Node.build(settings(tmp_path))
    assert caught.value.code == "node.folder-in-use"
    await node.stop()


@pytest.mark.parametrize("database", ["cairn.db", "../elsewhere.db"])
async def test_two_nodes_cannot_share_a_database(tmp_path: Path, database: str) -> None:
    shared, key = tmp_path / "one" / database, tmp_path / "key"
    (tmp_path / "one").mkdir()
    one, two = (
        load({}, data_dir=tmp_path / name, database=str(shared), secret_key_file=str(key), listen="127.0.0.1:0")
        for name in ("one", "two")
    )
    node = await Node.build(one)
    with pytest.raises(CairnError) as caught:
        await Node.build(two)
    assert caught.value.code == "node.database-in-use"
    await node.stop()
    await (await Node.build(two)).stop()


async def test_a_node_is_who_the_setting_says_and_is_listed_where_others_reach_it(tmp_path: Path) -> None:
    node = await Node.build(settings(tmp_path, node="c" * 32, advertise="api.example:443", tls="always"))
    await node.start()
    (row,) = await node.context.store.read(lambda tx: tx.find(ManagementNode))
    assert (row.uuid, row.host_name, row.port, row.version) == ("c" * 32, "api.example", 443, running_version())
    shown = x509.load_pem_x509_certificate((tmp_path / "pki" / "node.crt").read_bytes())
    names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "api.example" in names.get_values_for_type(x509.DNSName)
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [f"cairn:node/{'c' * 32}"]
    assert not (tmp_path / "node-id").exists()
    await node.stop()


async def test_a_folder_of_the_version_before_is_moved_into_the_database_and_its_agents_go_on(tmp_path: Path) -> None:
    old = OldFolder(tmp_path)
    for _ in range(2):
        node = await Node.build(settings(tmp_path))
        pair = await node.context.authority.renewed_agent("u1")
        assert node.context.authority.bundle.encode() == (tmp_path / "pki" / "ca.crt").read_bytes()
        assert node.context.authority.issuer == common_name(old.root.certificate.subject)
        assert pair is not None
        assert pair.certificate.encode() == certificate_pem(old.agent.certificate)
        await node.stop()
    assert pair is not None
    kept = {path.name for path in tmp_path.rglob("*.key")}  # noqa: ASYNC240 (a test)
    assert kept <= {"secret.key", "node.key", "cairn.key"}
    assert pair.key.splitlines()[1].encode() not in (tmp_path / "cairn.db").read_bytes()


async def test_a_folder_does_not_begin_a_second_cloud_on_another_database(tmp_path: Path) -> None:
    await (await Node.build(settings(tmp_path))).stop()
    with pytest.raises(CairnError, match="CAIRN_DATABASE") as caught:
        await Node.build(settings(tmp_path, database=str(tmp_path / "new.db")))
    assert caught.value.code == "node.other-cloud"
    await (await Node.build(settings(tmp_path))).stop()


async def test_what_is_kept_in_the_folder_is_the_nodes_alone(tmp_path: Path) -> None:
    node = await Node.build(settings(tmp_path / "new"))
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert await node.context.store.read(lambda tx: tx.count(Zone)) == 0
    await node.stop()


def test_plugins_are_those_that_the_settings_ask_for(tmp_path: Path) -> None:
    loaded = load_plugins(settings(tmp_path, plugins_disabled="kvm, ", plugins_extra="cairn_audit.manifest"))
    names = [manifest.name for manifest in loaded.manifests]
    assert "audit" in names
    assert "kvm" not in names
    assert "kvm" in {one.name for one in loaded.left_out}
    folders = migration_folders(loaded)
    assert folders[0] == CORE_MIGRATIONS
    assert all(folder.is_dir() for folder in folders)


@pytest.mark.parametrize(
    ("more", "url"),
    [
        ({"agent_url": "https://node/", "agent_listen": "10.0.0.1:8443"}, "https://node/v1/x"),
        ({"agent_listen": "10.0.0.1:8443"}, "https://10.0.0.1:8443/v1/x"),
        ({"agent_listen": "[fd00::1]:8443"}, "https://[fd00::1]:8443/v1/x"),
        ({"agent_listen": ""}, None),
    ],
)
def test_agents_report_where_they_are_told_or_where_the_node_listens(
    tmp_path: Path, more: dict[str, str], url: str | None
) -> None:
    assert bootstrap._agent_url(load({}, data_dir=tmp_path, **more), "/v1/x") == url


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_a_node_in_the_foreground_ends_by_a_signal(
    tmp_path: Path, name: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Node.start

    async def start_and_end(node: Node, *, serve: bool = True) -> None:
        await start(node, serve=serve)
        os.kill(os.getpid(), name)

    monkeypatch.setattr(Node, "start", start_and_end)
    monkeypatch.setattr(gc, "freeze", lambda: None)
    monkeypatch.setattr(gc, "set_threshold", lambda *_: None)
    umask = os.umask(0o022)
    try:
        assert bootstrap.serve(settings(tmp_path)) == 0
    finally:
        os.umask(umask)
        structlog.reset_defaults()


def test_a_second_signal_ends_a_node_that_is_leaving_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = Node.start

    async def start_and_end(node: Node, *, serve: bool = True) -> None:
        await start(node, serve=serve)
        os.kill(os.getpid(), signal.SIGTERM)

    left: list[bool] = []

    async def leave(node: Node) -> bool:
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await asyncio.Event().wait()
        finally:
            left.append(True)
        return False

    monkeypatch.setattr(Node, "start", start_and_end)
    monkeypatch.setattr(Node, "leave", leave)
    monkeypatch.setattr(gc, "freeze", lambda: None)
    monkeypatch.setattr(gc, "set_threshold", lambda *_: None)
    umask = os.umask(0o022)
    try:
        assert bootstrap.serve(settings(tmp_path)) == 0
    finally:
        os.umask(umask)
        structlog.reset_defaults()
    assert left == [True]


async def test_a_node_that_is_alone_leaves_at_once(tmp_path: Path) -> None:
    node = await Node.build(settings(tmp_path))
    await node.start(serve=False)
    assert not await node.leave()
    assert node.readiness().ready
    await node.stop()
