"""Keeps a node's authority up to date while it runs: news of other nodes, and its own certificate, long before that ends."""

from __future__ import annotations

import asyncio
from typing import Final

from cairn.kernel.deploy.authority import NEWS_SECONDS, Authority
from cairn.kernel.ids import NodeId
from cairn.kernel.loop import Loops
from cairn.kernel.ring import Ring

LOOK_SECONDS: Final = 6 * 3600.0
#: between two looks for news of a node that is the only one
ALONE_SECONDS: Final = 60.0


def keep_certificate(authority: Authority, loops: Loops) -> None:
    """Have the node's certificate renewed when it nears its end.

    The TLS contexts that are in use show a new certificate to new connections.
    """

    async def look() -> None:
        await asyncio.to_thread(authority.issue_node)

    loops.every("node certificate", lambda: LOOK_SECONDS, look)


def keep_up(authority: Authority, loops: Loops, ring: Ring, node: NodeId) -> None:
    """Have the node hear of what other nodes change: roots, and certificates that are good no longer.

    It looks at once when nodes come or go, then every `NEWS_SECONDS`, and seldom while it is the only one.
    """

    async def look() -> None:
        await authority.refresh()

    def seconds() -> float:
        return ALONE_SECONDS if ring.alive == {node} else NEWS_SECONDS

    loop = loops.every("authority news", seconds, look)
    ring.listen(lambda change: loop.wake())
