"""The registry of commands: it knows the method that answers each command.

An area is a class of a role (VMs, bridges, …) with methods marked ``@handles(StartVm)``. Nothing else lists them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TypeVar

import msgspec

from cairn.agents import log
from cairn.agents.errors import AgentError, is_no_space, no_space
from cairn.agents.files import free_bytes
from cairn.agents.protocol import codes
from cairn.agents.protocol.wire import AgentCommand, Result

C = TypeVar("C", bound=msgspec.Struct)
R = TypeVar("R", bound=Result)
A = TypeVar("A")

_MARK = "__cairn_handles__"


def handles(
    command: type[AgentCommand[R]],
) -> Callable[[Callable[[A, C], Awaitable[R]]], Callable[[A, C], Awaitable[R]]]:
    """Mark a method ``async def m(self, command) -> answer`` as the handler of `command`."""

    def mark(method: Callable[[A, C], Awaitable[R]]) -> Callable[[A, C], Awaitable[R]]:
        setattr(method, _MARK, command)
        return method

    return mark


class Registry:
    """All commands that an agent in its role can answer."""

    def __init__(self, areas: Iterable[object]) -> None:
        """Collect the marked methods of `areas`.

        Raises:
            TypeError: two methods handle the same command.
        """
        self._handlers: dict[str, tuple[type[AgentCommand[Result]], Callable[..., Awaitable[Result]]]] = {}
        for area in areas:
            for attribute in dir(type(area)):
                command = getattr(getattr(type(area), attribute), _MARK, None)
                if command is not None:
                    self._add(command, getattr(area, attribute))

    def _add(self, command: type[AgentCommand[Result]], call: Callable[..., Awaitable[Result]]) -> None:
        if command.name in self._handlers:
            raise TypeError(f"{command.name} has two handlers: {self._handlers[command.name][1]} and {call}")
        self._handlers[command.name] = (command, call)

    @property
    def names(self) -> list[str]:
        """The names of all commands, sorted."""
        return sorted(self._handlers)

    async def run(self, name: str, body: msgspec.Raw) -> Result:
        """Decode `body` and let its handler answer. Any exception leaves as an `AgentError`.

        Raises:
            AgentError: ``agent.unknown-command``, ``agent.bad-request``, ``agent.internal``, or the handler's own error.
        """
        if name not in self._handlers:
            raise AgentError(
                codes.UNKNOWN_COMMAND, f"This agent does not know {name!r}. It knows: {', '.join(self.names)}."
            )
        command_type, call = self._handlers[name]
        try:
            command = msgspec.json.decode(body, type=command_type)
        except msgspec.MsgspecError as error:
            raise AgentError(codes.BAD_REQUEST, f"The body of {name} does not fit: {error}.") from error
        try:
            return await call(command)
        except AgentError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and is_no_space(error):
                place = Path(error.filename or "/")
                raise no_space(place, None, free_bytes(place)) from error
            log.exception("command.bug")
            raise AgentError(
                codes.INTERNAL,
                f"{name}: {type(error).__name__}: {error}. This is a bug; the agent's log has the trace.",
            ) from error
