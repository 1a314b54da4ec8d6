"""What agents and nodes of two versions make of each other's commands."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from typing import ClassVar

import msgspec
import pytest
from msgspec import Struct, inspect

import cairn.agents.protocol
from cairn.agents.protocol.fence import Fence
from cairn.agents.protocol.wire import AgentCommand, Done, Part, Request, Result

for module in pkgutil.iter_modules(cairn.agents.protocol.__path__):
    import_module(f"cairn.agents.protocol.{module.name}")


def commands(kind: type[Struct] = AgentCommand) -> Iterator[type[Struct]]:
    for sub in kind.__subclasses__():
        if sub.__module__.startswith("cairn.agents.protocol"):
            yield sub
            yield from commands(sub)


def parts(kind: inspect.Type) -> Iterator[type[Struct]]:
    """The structs that something is made of, itself first."""
    match kind:
        case inspect.StructType():
            yield kind.cls
            for field in kind.fields:
                yield from parts(field.type)
        case inspect.Metadata():
            yield from parts(kind.type)
        case inspect.UnionType():
            for one in kind.types:
                yield from parts(one)
        case inspect.ListType() | inspect.SetType():
            yield from parts(kind.item_type)
        case inspect.DictType():
            yield from parts(kind.value_type)
        case _:
            pass


PARTS = sorted({part for command in commands() for part in parts(inspect.type_info(command))}, key=lambda p: p.__name__)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: str(part.__name__))
def test_every_part_of_a_command_leaves_defaults_out_and_refuses_what_it_does_not_know(part: type[Struct]) -> None:
    config = part.__struct_config__
    assert (config.omit_defaults, config.forbid_unknown_fields) == (True, True)


class Nic(Part, frozen=True, kw_only=True):
    mac: str


class Start(AgentCommand[Done], frozen=True, kw_only=True):
    name: ClassVar[str] = "test.start"
    answer: ClassVar[type[Result]] = Done

    nics: list[Nic]


class LaterNic(Nic, frozen=True, kw_only=True):
    queues: int = 1


class LaterStart(AgentCommand[Done], frozen=True, kw_only=True):
    name: ClassVar[str] = "test.later-start"
    answer: ClassVar[type[Result]] = Done

    nics: list[LaterNic]
    turbo: bool = False


@pytest.mark.parametrize(
    ("later", "understood"),
    [
        (LaterStart(nics=[LaterNic(mac="a")]), True),
        (LaterStart(nics=[LaterNic(mac="a")], turbo=True), False),
        (LaterStart(nics=[LaterNic(mac="a", queues=4)]), False),
    ],
)
def test_an_agent_of_the_version_before_does_what_needs_no_new_field_and_refuses_the_rest(
    later: LaterStart, *, understood: bool
) -> None:
    sent = msgspec.json.encode(later)
    if understood:
        assert msgspec.json.decode(sent, type=Start) == Start(nics=[Nic(mac="a")])
    else:
        with pytest.raises(msgspec.ValidationError, match="unknown field"):
            msgspec.json.decode(sent, type=Start)


class FormerRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    """A request as agents know it that do not know of fences."""

    task: str
    command: str
    body: msgspec.Raw


def test_an_agent_that_does_not_know_of_fences_passes_over_them() -> None:
    sent = Request(task="t", command="c", body=msgspec.Raw(b"{}"), fences=(Fence(resource="vm:a", epoch=7),))
    read = msgspec.json.decode(msgspec.json.encode(sent), type=FormerRequest)
    assert (read.task, read.command) == ("t", "c")
