from __future__ import annotations

from pathlib import Path

from tests.unit.cli.fakes import FakeNode

from cairn.cli.client import Client
from cairn.cli.completion_cache import CompletionCache
from cairn.cli.http import HttpClient
from cairn.cli.session import Credentials, SessionStore


def _asked(node: FakeNode, path: str) -> int:
    return sum(one.path == path for one in node.seen)


def test_schema_is_kept_between_commands_for_a_while(client: Client, node: FakeNode, tmp_path: Path) -> None:
    now = [1e9]
    assert CompletionCache(client, tmp_path, lambda: now[0]).schema() is not None
    kept = next(tmp_path.glob("schema-*.json"))
    now[0] = kept.stat().st_mtime + 200
    assert CompletionCache(client, tmp_path, lambda: now[0]).schema() is not None
    assert _asked(node, "/v1/schema") == 1
    now[0] += 200
    CompletionCache(client, tmp_path, lambda: now[0]).schema()
    assert _asked(node, "/v1/schema") == 2


def test_names_are_kept_for_some_seconds(client: Client, node: FakeNode) -> None:
    now = [0.0]
    known = CompletionCache(client, None, lambda: now[0])
    assert known.resources("Image")[0]["name"] == "tiny"
    known.resources("Image")
    assert _asked(node, "/v1/images") == 1
    now[0] = 6.0
    known.resources("Image")
    assert _asked(node, "/v1/images") == 2


def test_no_node_is_nothing_to_complete_and_no_error(tmp_path: Path) -> None:
    client = Client(HttpClient("http://127.0.0.1:9"), SessionStore(tmp_path / "s"), Credentials(tmp_path, {}))
    known = CompletionCache(client, tmp_path)
    assert known.schema() is None
    assert known.resources("Image") == ()


def test_no_session_is_nothing_to_complete_and_no_error(node: FakeNode, tmp_path: Path) -> None:
    client = Client(HttpClient(node.url), SessionStore(tmp_path / "s"), Credentials(tmp_path, {}))
    assert CompletionCache(client, None).resources("Image") == ()
