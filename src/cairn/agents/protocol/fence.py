"""The fence of a command: in whose turn, and since which epoch, a node gives it.

Work on a resource has one owner, a node, and whoever takes it over does so in a higher epoch. A node may learn late that
somebody has: it was stopped for a while, or cut off. So each command that is a part of such work says in which epoch its node
took it, and an agent that has heard of a higher one refuses (``agent.stale-epoch``). What is no part of it (a ping, a node's
own rounds) has no fence, and is never refused.

A resource is what turns are taken of, a key like ``vm:UUID``. Two epochs of one key never work at the same time, so an agent
that heard a higher one knows that the lower one's work is another's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

from msgspec import Meta, Struct

#: of so many resources an agent remembers the epoch; those that were commanded last. The others are forgotten
MOST_RESOURCES: Final = 10_000


class Fence(Struct, frozen=True, kw_only=True, gc=False):
    """In whose turn a command is given."""

    resource: Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[!-~]+$")]  #: in whose turn
    epoch: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]  #: of the ring, when the node took the work
    node: Annotated[str, Meta(max_length=64)] = ""  #: its id, for people


def refusal(known: Mapping[str, int], fence: Fence) -> str | None:
    """Why a command is not done, as a sentence; None: no higher epoch of its resource is known."""
    highest = known.get(fence.resource, 0)
    if fence.epoch >= highest:
        return None
    return (
        f"The command for {fence.resource} is of epoch {fence.epoch} (node {fence.node or 'unknown'}), and one of epoch "
        f"{highest} came before: another node has taken this over. Nothing was done; that node goes on with it."
    )


def note(known: dict[str, int], fence: Fence, most: int = MOST_RESOURCES) -> bool:
    """Remember the epoch of a command that was not refused, and forget what was commanded longest ago.

    Args:
        known: the highest epoch by resource, in the order in which they were commanded; changed.
        most: resources that are remembered.

    Returns:
        Whether it is higher than what was known.
    """
    before = known.pop(fence.resource, None)
    known[fence.resource] = fence.epoch
    if len(known) > most:
        del known[next(iter(known))]
    return before != fence.epoch
