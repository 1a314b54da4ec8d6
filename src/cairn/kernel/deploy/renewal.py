"""Renews the node's own certificate while it runs, long before it ends: a node may run for years."""

from __future__ import annotations

import asyncio
from typing import Final

from cairn.kernel.deploy.authority import Authority
from cairn.kernel.loop import Loops
from cairn.kernel.metrics import Metrics

LOOK_SECONDS: Final = 6 * 3600.0


def keep_certificate(authority: Authority, loops: Loops, metrics: Metrics) -> None:
    """Have the node's certificate renewed when it nears its end, and tell when it and the authority's end.

    The TLS contexts that are in use show a new certificate to new connections.
    """

    async def look() -> None:
        await asyncio.to_thread(authority.issue_node)

    loops.every("node certificate", lambda: LOOK_SECONDS, look)
    metrics.certificates.read_from(authority.ends)
