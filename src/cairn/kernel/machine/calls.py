"""Calls to machines' agents from nodes that do not own the machines.

A machine belongs to one node: that knows whether it is connected, and has the queue of its agent. Others have it call the agent.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, ClassVar, TypeVar, cast

import msgspec
from msgspec import Struct

from cairn.agents.protocol.wire import AgentCommand, Result
from cairn.kernel.bus.message import Command
from cairn.kernel.error import CairnError, ErrorKind

R = TypeVar("R", bound=Result)


class AgentAnswer(Struct, frozen=True, kw_only=True):
    """What an agent answered."""

    body: bytes  #: JSON


class CallAgent(Command[AgentAnswer], frozen=True, kw_only=True, tag="machine.call-agent"):
    """Have a machine's agent do something, in its queue on the machine's node."""

    route: ClassVar[str | None] = "machine"

    machine: str
    entity: str  #: of the machine's kind
    command: str  #: its name
    body: bytes  #: JSON
    timeout_seconds: float | None = None
    idle: bool = False


def packed(
    entity: str, machine: str, command: AgentCommand[Any], *, timeout_seconds: float | None, idle: bool
) -> CallAgent:
    """The message that has `command` done on a machine of this kind."""
    return CallAgent(
        machine=machine,
        entity=entity,
        command=command.name,
        body=msgspec.json.encode(command),
        timeout_seconds=timeout_seconds,
        idle=idle,
    )


def unpacked(message: CallAgent) -> AgentCommand[Result]:
    """The command in a message.

    Raises:
        CairnError: ``machine.unknown-command``: this node does not have it, or has it in another form.
    """
    try:
        return msgspec.json.decode(message.body, type=_command_type(message.command))
    except (LookupError, msgspec.MsgspecError) as error:
        raise CairnError(
            "machine.unknown-command",
            f"The node of this machine cannot read the command {message.command}. The nodes run different versions or "
            "plugins: bring all to the same one.",
            kind=ErrorKind.UNAVAILABLE,
            operator=str(error),
        ) from error


def answer_of(command: AgentCommand[R], answer: AgentAnswer) -> R:
    """What the agent answered to `command`."""
    return cast("R", msgspec.json.decode(answer.body, type=command.answer))


@cache
def _command_type(name: str) -> type[AgentCommand[Result]]:
    for kind in _all(AgentCommand):
        if getattr(kind, "name", None) == name:
            return kind
    raise LookupError(f"there is no command {name}")


def _all(kind: type[AgentCommand[Any]]) -> Iterator[type[AgentCommand[Any]]]:
    for derived in kind.__subclasses__():
        yield derived
        yield from _all(derived)
