from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import click
import pytest
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fakes import FakeNode

from cairn.cli.completion_scripts import commands, split
from cairn.cli.main import cairn


def _real(group: click.Group, prefix: str = "") -> Iterator[str]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if not command.hidden:
            yield f"{prefix}{name}"
        if isinstance(command, click.Group):
            yield from _real(command, f"{prefix}{name} ")


def test_commands_of_groups_are_those_that_there_are() -> None:
    inside = {name for name in commands() if " " in name}
    assert inside == {name for name in _real(cairn) if " " in name}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", [""]),
        ("cairn", ["cairn"]),
        ("cairn ", ["cairn", ""]),
        ("cairn create-zone name='my zo", ["cairn", "create-zone", "name=my zo"]),
        ('cairn query vm "name=a b" ', ["cairn", "query", "vm", "name=a b", ""]),
    ],
)
def test_a_line_is_split_as_a_shell_does_also_in_the_middle_of_a_word(line: str, words: list[str]) -> None:
    assert split(line) == words


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script_that_asks_cairn(cli: Cli, shell: str) -> None:
    ran = cli("completion", shell)
    assert ran.code == 0
    assert f"cairn __complete {shell} --" in ran.out


def test_the_script_for_bash_is_one(cli: Cli) -> None:
    bash = shutil.which("bash") or pytest.skip("bash is not installed")
    subprocess.run([bash, "-n"], input=cli("completion", "bash").out, text=True, check=True)


def test_fish_is_told_what_a_candidate_is_and_zsh_where_a_word_ends(cli: Cli, node: FakeNode) -> None:
    assert "stop-vm-instance\tStopVmInstance does it." in cli("__complete", "fish", "cairn stop-vm").out
    assert cli("__complete", "bash", "cairn stop-vm").out == "stop-vm-instance\n"
    assert cli("__complete", "zsh", "cairn stop-vm").out == "stop-vm-instance \n"
