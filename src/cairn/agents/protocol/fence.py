"""The fences of a command: in whose turn, and since which epoch, a node gives it.

Work on a resource has one owner, a node, and whoever takes it over does so in a higher epoch. A node may learn late that
somebody has: it was stopped for a while, or cut off. So a command says in which epoch its node took what it is a part of, and an
agent that has heard of a higher one refuses (``agent.stale-epoch``).

A command has up to two of them. One is that of the machine (``machine:UUID``): the node to which the ring gives the machine
speaks with its agent, for itself and for others. The other is that of the run which the command is a step of: a key of what turns
are taken of, like ``vm:UUID``. What is refused by one of them is not done. A ping has none.

Two epochs of one resource never work at the same time, so an agent that heard a higher one knows that the lower one's work is
another's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Final

from msgspec import Meta, Struct

#: of so many resources an agent remembers the epoch; those that were commanded last. The others are forgotten
MOST_RESOURCES: Final = 10_000


class Fence(Struct, frozen=True, kw_only=True, gc=False):
    """In whose turn a command is given."""

    resource: Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[!-~]+$")]  #: in whose turn
    epoch: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]  #: of the ring, when the node took it
    node: Annotated[str, Meta(max_length=64)] = ""  #: its id, for people


Fences = Annotated[tuple[Fence, ...], Meta(max_length=4)]


def refusal(known: Mapping[str, int], fences: Iterable[Fence]) -> str | None:
    """Why a command is not done, as a sentence; None: of none of its resources a higher epoch is known."""
    for fence in fences:
        highest = known.get(fence.resource, 0)
        if fence.epoch < highest:
            return (
                f"The command for {fence.resource} is of epoch {fence.epoch} (node {fence.node or 'unknown'}), and one of epoch "
                f"{highest} came before: another node has taken this over. Nothing was done; that node goes on with it."
            )
    return None


def note(known: dict[str, int], fences: Iterable[Fence], most: int = MOST_RESOURCES) -> list[Fence]:
    """Remember the epochs of a command that was not refused, and forget what was commanded longest ago.

    Args:
        known: the highest epoch by resource, in the order in which they were commanded; changed.
        most: resources that are remembered.

    Returns:
        Those that were not known yet.
    """
    news: list[Fence] = []
    for fence in fences:
        if known.pop(fence.resource, None) != fence.epoch:
            news.append(fence)
        known[fence.resource] = fence.epoch
        if len(known) > most:
            del known[next(iter(known))]
    return news
