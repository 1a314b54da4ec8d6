from __future__ import annotations

from pathlib import Path

from tests.unit.cli.fakes import FakeNode

from cairn.cli.context import Context
from cairn.cli.errors import Exit
from cairn.cli.shell import keeps, run_line, words_of


def test_cairn_before_a_command_is_a_habit_and_no_error() -> None:
    assert words_of("cairn query Zone 'name=a b'") == ["query", "Zone", "name=a b"]
    assert words_of("query 'open") is None
    assert words_of("  ") == []


def test_line_runs_at_the_shells_node(node: FakeNode, environment: Path) -> None:
    context = Context(node.url, environment / "data")
    assert run_line(context, ["query", "Zone", "--json"]) == Exit.OK
    assert run_line(context, ["query", "Nothing"]) == Exit.USAGE


def test_secrets_do_not_go_into_the_history() -> None:
    assert keeps("query Zone")
    assert not keeps("add-kvm-host name=h password=hunter2")
