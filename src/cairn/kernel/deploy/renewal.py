"""Renews the node's own certificate while it runs, long before it ends: a node may run for years."""

from __future__ import annotations

import asyncio
from typing import Final

from cairn.kernel.deploy.authority import Authority
from cairn.kernel.loop import Loops

LOOK_SECONDS: Final = 6 * 3600.0


def keep_certificate(authority: Authority, loops: Loops) -> None:
    """Have the node's certificate renewed when it nears its end.

    The TLS contexts that are in use show a new certificate to new connections.
    """

    async def look() -> None:
        await asyncio.to_thread(authority.issue_node)

    loops.every("node certificate", lambda: LOOK_SECONDS, look)
