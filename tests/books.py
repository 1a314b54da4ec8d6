"""What the simulator's book of commands says of the order in which owners gave them."""

from __future__ import annotations

from collections.abc import Iterable

from cairn.simulator.agents import Commanded


def disorder(book: Iterable[Commanded]) -> list[str]:
    """What was carried out, on one host and for one resource, after a higher epoch, or in one epoch by two nodes."""
    last: dict[tuple[str, str], Commanded] = {}
    wrong: list[str] = []
    for line in book:
        if line.resource is None or line.refused:
            continue
        before = last.get((line.host, line.resource), line)
        if before.epoch > line.epoch or (before.epoch == line.epoch and before.node != line.node):
            wrong.append(f"{line} after {before}")
        else:
            last[line.host, line.resource] = line
    return wrong
