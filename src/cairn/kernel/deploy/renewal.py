"""Renews the node's own certificate while it runs, long before it ends: a node may run for years."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from cairn.kernel.clock import Clock
from cairn.kernel.deploy.authority import Authority

_log = structlog.get_logger("cairn.deploy.renewal")
_LOOK_SECONDS: Final = 6 * 3600.0


class NodeCertificate:
    """Looks at the node's certificate from time to time. The contexts in use show a new one to new connections."""

    def __init__(self, authority: Authority, clock: Clock) -> None:
        self._authority = authority
        self._clock = clock
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look."""
        self._loop = asyncio.get_running_loop().create_task(self._run(), name="node certificate")

    async def stop(self) -> None:
        """End the looking. Safe to repeat."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)

    async def look(self) -> None:
        """Renew the certificate if it nears its end. Safe to repeat."""
        await asyncio.to_thread(self._authority.issue_node)

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(_LOOK_SECONDS)
            try:
                await self.look()
            except Exception:  # noqa: BLE001 (the edge: a full disk today must not end this for the years to come)
                _log.exception("node.certificate-not-renewed")
