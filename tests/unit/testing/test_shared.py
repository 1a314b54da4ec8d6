from __future__ import annotations

from pathlib import Path

from cairn.testing.shared import authority_in, forget_agent, shared_store


async def test_each_call_is_another_node_on_the_same_database(tmp_path: Path) -> None:
    one, two = await authority_in(tmp_path / "pki"), await authority_in(tmp_path / "pki")
    assert one is not two
    assert await one.issue_agent("a", "u1", []) == await two.issue_agent("a", "u1", [])
    await forget_agent(one, "u1")
    assert len(one.revoked) == 1
    assert await two.renewed_agent("u1") is None


async def test_folder_is_made(tmp_path: Path) -> None:
    store = await shared_store(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b" / "shared.db").exists()
    await store.close()
