"""Sends late replies to callbacks, and reports of events on the machine.

Nothing here is kept over a restart: a management node that misses a reply polls for it, and a state that was not
reported is seen by the next ping.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import Protocol

import aiohttp
import msgspec

from cairn.agents import log
from cairn.agents.clock import Clock
from cairn.agents.protocol.wire import Reply, Report

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
#: After this long nobody can still be waiting for a reply.
GIVE_UP_SECONDS = 900.0
MAX_REPORTS = 1000


class Poster(Protocol):
    """Sends one HTTP request."""

    async def post(self, url: str, body: bytes) -> int:
        """POST JSON and return the status. Raises `OSError` when there was no answer."""


class HttpPoster:
    """Posts with aiohttp and the agent's own certificate."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, body: bytes) -> int:
        """POST JSON; the connection is kept for the next. Redirects are not followed: they might leave the cloud."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15))
        try:
            async with self._session.post(
                url,
                data=body,
                headers={"Content-Type": "application/json"},
                ssl=self._tls if self._tls is not None else True,
                allow_redirects=False,
            ) as response:
                return response.status
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise OSError(f"{type(error).__name__}: {error}") from error

    async def close(self) -> None:
        """Close the kept connections. Safe when nothing was ever posted."""
        if self._session is not None:
            await self._session.close()


class Delivery:
    """Delivers replies side by side, and reports one after the other in the order in which they were made."""

    def __init__(self, poster: Poster, clock: Clock) -> None:
        self._poster = poster
        self._clock = clock
        self._replies: set[asyncio.Task[bool]] = set()
        self._reports: deque[tuple[str, Report]] = deque(maxlen=MAX_REPORTS)
        self._reporter: asyncio.Task[None] | None = None

    def reply(self, url: str, reply: Reply) -> None:
        """Send `reply` to a callback address; returns at once."""
        task = asyncio.create_task(self._deliver(url, msgspec.json.encode(reply)), name=f"reply {reply.task}")
        self._replies.add(task)
        task.add_done_callback(self._replies.discard)

    def report(self, url: str, report: Report) -> None:
        """Send `report`; returns at once. If too many wait, the oldest is dropped: the ping tells the state anyway."""
        if len(self._reports) == MAX_REPORTS:
            log.warning("report.dropped", waiting=MAX_REPORTS, vm=self._reports[0][1].vm)
        self._reports.append((url, report))
        if self._reporter is None or self._reporter.done():
            self._reporter = asyncio.create_task(self._report_all(), name="reports")

    async def close(self) -> None:
        """Give up everything that was not delivered yet."""
        tasks: list[asyncio.Task[bool] | asyncio.Task[None]] = [*self._replies]
        if self._reporter is not None:
            tasks.append(self._reporter)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _report_all(self) -> None:
        while self._reports:
            url, report = self._reports.popleft()
            await self._deliver(url, msgspec.json.encode(report))

    async def _deliver(self, url: str, body: bytes) -> bool:
        """Try until it is taken, refused for good (4xx), or nobody can still be waiting."""
        give_up = self._clock.monotonic() + GIVE_UP_SECONDS
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                status = await self._poster.post(url, body)
            except OSError as error:
                found = str(error)
            else:
                if status < 300:
                    return True
                found = f"status {status}"
                if 400 <= status < 500 and status not in (408, 429):
                    log.warning("delivery.refused", url=url, found=found)
                    return False
            if self._clock.monotonic() + pause > give_up:
                log.warning("delivery.given-up", url=url, found=found)
                return False
            await self._clock.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
