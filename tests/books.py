"""What the simulator's book of commands says of the order in which owners gave them."""

from __future__ import annotations

from collections.abc import Iterable

from cairn.agents.protocol.fence import Fence
from cairn.simulator.agents import Commanded


def disorder(book: Iterable[Commanded]) -> list[str]:
    """What was carried out, on one host and for one resource, after a higher epoch, or in one epoch by two nodes."""
    last: dict[tuple[str, str], Fence] = {}
    wrong: list[str] = []
    for line in book:
        for fence in () if line.refused else line.fences:
            before = last.get((line.host, fence.resource), fence)
            if before.epoch > fence.epoch or (before.epoch == fence.epoch and before.node != fence.node):
                wrong.append(f"{line} after {before}")
            else:
                last[line.host, fence.resource] = fence
    return wrong
