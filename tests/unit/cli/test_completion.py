from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fakes import IMAGE, SCHEMA, VM

from cairn.cli.client import Json
from cairn.cli.completion import Completer
from cairn.cli.completion_scripts import commands, split
from cairn.cli.schema import decode

NAMES: dict[str, Sequence[Json]] = {
    "Image": [{"uuid": IMAGE, "name": "tiny", "state": "Enabled"}],
    "VmInstance": [{"uuid": VM, "name": "web"}, {"uuid": "8" * 32, "name": "two"}, {"uuid": "9" * 32, "name": "two"}],
    "L3Network": [{"uuid": "6" * 32, "name": "flat"}, {"uuid": "7" * 32, "name": "has space"}],
}


@pytest.fixture
def completer() -> Completer:
    return Completer(commands(), decode(msgspec.json.encode(SCHEMA)), lambda entity: NAMES.get(entity, ()))


def _texts(completer: Completer, line: str) -> list[str]:
    return [candidate.text for candidate in completer.complete(split(line))]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("que", ["query"]),
        ("create-", ["create-vm-instance"]),
        ("help create-", ["create-vm-instance"]),
        ("lab m", ["mend"]),
        ("create-vm-instance na", ["name="]),
        ("create-vm-instance strategy=", ["strategy=InstantStart", "strategy=CreateStopped"]),
        ("create-vm-instance virtio=f", ["virtio=false"]),
        ("create-vm-instance imageUuid=", ["imageUuid=tiny", f"imageUuid={IMAGE}"]),
        ("create-vm-instance l3NetworkUuids=flat,", [f"l3NetworkUuids=flat,{end}" for end in ("flat", "6" * 32, "7" * 32)]),
        ("destroy-vm-instance uuid=w", ["uuid=web"]),
        ("create-vm-instance --dr", ["--dry-run"]),
        ("query VmI", ["VmInstance"]),
        ("query VmInstance vmNics.l3Net", ["vmNics.l3Network."]),
        ("query VmInstance vmNics.l3Network.na", ["vmNics.l3Network.name"]),
        ("query VmInstance state", ["state=", "state!=", "state?="]),
        ("query VmInstance state=", ["state=Running", "state=Stopped"]),
        ("query VmInstance state?=Running,", ["state?=Running,Running", "state?=Running,Stopped"]),
        ("query VmInstance vmNics.l3Network.name=f", ["vmNics.l3Network.name=flat"]),
        ("query VmInstance fields=name,st", ["fields=name,state"]),
        ("query VmInstance sort=-cr", ["sort=-createDate"]),
        ("query VmInstance lim", ["limit="]),
        ("query VmInstance vmNics.nowhere.", []),
        ("query Nothing na", []),
        ("nonsense x", []),
    ],
)  # fmt: skip
def test_what_could_come_next(completer: Completer, line: str, expected: list[str]) -> None:
    assert _texts(completer, line) == expected


def test_needed_parameters_come_first_and_given_ones_not_again(completer: Completer) -> None:
    texts = _texts(completer, "create-vm-instance name=web ")
    assert texts[:2] == ["imageUuid=", "l3NetworkUuids="]
    assert "name=" not in texts


def test_name_that_several_have_cannot_stand_for_one(completer: Completer) -> None:
    assert "uuid=two" not in _texts(completer, "stop-vm-instance uuid=")
    assert f"uuid={'8' * 32}" in _texts(completer, "stop-vm-instance uuid=")


def test_without_a_node_commands_are_still_completed() -> None:
    assert _texts(Completer(commands(), None, lambda _: ()), "qu") == ["query"]


def test_words_of_a_line_keep_quoted_spaces() -> None:
    assert split("query Vm 'name~=a b' ") == ["query", "Vm", "name~=a b", ""]
    assert split('query Vm "name=a b') == ["query", "Vm", "name=a b"]
    assert split("") == [""]


def test_subcommands_are_those_that_there_are() -> None:
    from importlib import import_module

    import click

    from cairn.cli.main import COMMANDS

    there = set()
    for section in COMMANDS.values():
        for name, (place, _) in section.items():
            module, _, attribute = place.partition(":")
            found = getattr(import_module(module), attribute)
            if isinstance(found, click.Group):
                there |= {f"{name} {inner}" for inner in found.commands}
    assert {name for name in commands() if " " in name} == there


def test_script_asks_the_same_completer(cli: Cli) -> None:
    told = cli("__complete", "bash", "--", "cairn create-vm-instance imageUuid=t").out
    assert told == "imageUuid=tiny\n"
    assert "Enabled" in cli("__complete", "fish", "--", "cairn create-vm-instance imageUuid=t").out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_is_printed(cli: Cli, shell: str) -> None:
    assert f"__complete {shell}" in cli("completion", shell).out
