"""Handlers are marked where they stand, and found without a list::

    class ZoneService:
        @handles(CreateZone)
        async def create(self, message: CreateZone) -> Reference: ...

`Bus.serve` registers all marked methods of an object.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar, cast

from cairn.kernel.bus.message import Command, Message, Query

S = TypeVar("S")
M = TypeVar("M", bound=Message)
R = TypeVar("R")

_MARK = "__cairn_handles__"

Handler = Callable[[Any], Awaitable[object]]


def handles(
    message: type[Command[R]] | type[Query[R]],
) -> Callable[[Callable[[S, M], Awaitable[R]]], Callable[[S, M], Awaitable[R]]]:
    """Mark ``async def method(self, message) -> answer`` as the handler of `message`."""

    def mark(method: Callable[[S, M], Awaitable[R]]) -> Callable[[S, M], Awaitable[R]]:
        setattr(method, _MARK, message)
        return method

    return mark


def handlers_of(service: object) -> Iterator[tuple[type[Message], Handler]]:
    """The messages that an object's methods are marked for, each with the method."""
    for name in dir(type(service)):
        message = getattr(getattr(type(service), name), _MARK, None)
        if message is not None:
            yield cast("type[Message]", message), getattr(service, name)
