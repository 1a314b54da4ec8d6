from __future__ import annotations

from pathlib import Path

from tests.unit.cli.conftest import Cli
from tests.unit.cli.fakes import FakeNode

from cairn.cli.errors import Exit


def test_login_takes_the_password_from_a_file_and_logout_ends_the_session(
    cli: Cli, node: FakeNode, environment: Path
) -> None:
    (environment / "data" / "admin-password").unlink()
    assert cli("query", "Zone").code == Exit.UNREACHABLE
    (environment / "password").write_text("secret\n")
    assert cli("login", "--password-file", str(environment / "password")).code == Exit.OK
    assert cli("query", "Zone").code == Exit.OK
    assert node.logins == 1
    assert "Logged out" in cli("logout").out
    assert "no session" in cli("logout").out


def test_wrong_password_is_exit_code_1(cli: Cli, node: FakeNode) -> None:
    node.password = "another"
    ran = cli("login")
    assert ran.code == Exit.REFUSED
    assert "wrong" in ran.err


def test_missing_password_file_is_wrong_usage(cli: Cli) -> None:
    assert cli("login", "--password-file", "/nowhere").code == Exit.USAGE
