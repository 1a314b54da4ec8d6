from __future__ import annotations

from pathlib import Path

import pytest

from cairn.cli.session import Credentials, Session, SessionStore, is_local

LOCAL, REMOTE = "http://127.0.0.1:8080", "http://198.51.100.7:8080"


def test_sessions_are_kept_by_node(tmp_path: Path) -> None:
    store = SessionStore(tmp_path / "a" / "session.json")
    store.put(LOCAL, Session(uuid="1", account="admin"))
    store.put(REMOTE, Session(uuid="2", account="alice"))
    store.drop(LOCAL)
    store.drop(LOCAL)
    assert store.get(LOCAL) is None
    assert store.get(REMOTE) == Session(uuid="2", account="alice")


def test_broken_file_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "session.json").write_text("{")
    assert SessionStore(tmp_path / "session.json").get(LOCAL) is None


def test_admins_password_file_is_never_sent_to_another_machine(tmp_path: Path) -> None:
    (tmp_path / "admin-password").write_text("secret\n")
    credentials = Credentials(tmp_path, {})
    assert credentials.password(LOCAL, "admin") == "secret"
    assert credentials.password(REMOTE, "admin") is None
    assert credentials.password(LOCAL, "alice") is None


def test_password_of_the_environment_wins(tmp_path: Path) -> None:
    assert Credentials(tmp_path, {"CAIRN_PASSWORD": "x"}).password(REMOTE, "alice") == "x"


@pytest.mark.parametrize(
    ("url", "local"),
    [(LOCAL, True), ("http://localhost:1", True), ("http://[::1]:1", True), (REMOTE, False), ("http://node", False)],
)
def test_local_is_what_cannot_leave_the_machine(url: str, local: bool) -> None:
    assert is_local(url) is local
