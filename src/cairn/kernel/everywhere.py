"""Asking all nodes the same, where each knows only its own part of the answer."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

from msgspec import Struct

from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.message import Query
from cairn.kernel.duty import Duties
from cairn.kernel.error import CairnError
from cairn.kernel.ids import NodeId

R = TypeVar("R")


class Answers(Struct, Generic[R], frozen=True):
    """What the nodes said."""

    found: dict[NodeId, R]
    silent: dict[NodeId, CairnError]  #: those that did not answer, each with the reason


async def ask_everywhere(bus: Bus, duties: Duties, message: Query[R], *, timeout_seconds: float) -> Answers[R]:
    """Ask each member, this node too, all at a time. One that does not answer in time keeps nobody waiting longer.

    Args:
        duties: knows the members.
        message: that each node answers for itself, whatever its `route`.
        timeout_seconds: for the slowest.
    """
    nodes = sorted(duties.members)
    found = await asyncio.gather(
        *(bus.ask(node, message, timeout_seconds=timeout_seconds) for node in nodes), return_exceptions=True
    )
    answers: Answers[R] = Answers({}, {})
    for node, answer in zip(nodes, found, strict=True):
        if isinstance(answer, CairnError):
            answers.silent[node] = answer
        elif isinstance(answer, BaseException):
            raise answer
        else:
            answers.found[node] = answer
    return answers
