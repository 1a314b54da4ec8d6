"""Keeps a node's authority up to date while it runs: news of other nodes, and its own certificate, long before that ends."""

from __future__ import annotations

import asyncio
from typing import Final

from cairn.kernel.deploy.authority import NEWS_SECONDS, Authority
from cairn.kernel.loop import Loops

LOOK_SECONDS: Final = 6 * 3600.0


def keep_certificate(authority: Authority, loops: Loops) -> None:
    """Have the node's certificate renewed when it nears its end.

    The TLS contexts that are in use show a new certificate to new connections.
    """

    async def look() -> None:
        await asyncio.to_thread(authority.issue_node)

    loops.every("node certificate", lambda: LOOK_SECONDS, look)


def keep_up(authority: Authority, loops: Loops) -> None:
    """Have the node hear of what other nodes change: roots, and certificates that are good no longer."""

    async def look() -> None:
        await authority.refresh()

    loops.every("authority news", lambda: NEWS_SECONDS, look)
