"""Requests to agents without sockets, with faults on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from cairn.kernel.agent.http import AnswerLost, ConnectFailed, ExchangeTimeout
from cairn.kernel.clock import Clock

Handler = Callable[[str, str, bytes | None], Awaitable[tuple[int, bytes]]]
"""What answers: method, path below the origin, body -> status, body."""


class MemoryTransport:
    """A `cairn.kernel.agent.http.AgentTransport` that hands requests straight to a function.

    The dials may be turned at any time. `dead` holds the beginnings of URLs that refuse connections;
    `lose_requests` and `lose_answers` say how many of the next requests, or answers of work that was done, get lost;
    `answer_twice` says how many of the next answers come a second time, instead of the answer to the request that
    follows; `delay_seconds` passes before each request is handled.

    Args:
        handler: what answers.
        clock: for delays and time-outs.
    """

    def __init__(self, handler: Handler, clock: Clock) -> None:
        self._handler = handler
        self._clock = clock
        self._stale: tuple[int, bytes] | None = None
        self.dead: set[str] = set()
        self.lose_requests = 0
        self.lose_answers = 0
        self.answer_twice = 0
        self.delay_seconds = 0.0
        self.requests: list[tuple[str, str]] = []  #: method and URL of everything that was sent, dead hosts included

    async def request(
        self, method: str, url: str, body: bytes | None, timeout_seconds: float, *, machine: str | None = None
    ) -> tuple[int, bytes]:
        """Send and return status and body; see `AgentTransport.request`."""
        self.requests.append((method, url))
        if any(url.startswith(dead) for dead in self.dead):
            raise ConnectFailed(f"{url} refused the connection", sent=False)
        if self.lose_requests:
            self.lose_requests -= 1
            raise AnswerLost(f"the connection to {url} broke before the answer", sent=True)
        answer = await self._within(timeout_seconds, self._handle(method, url, body), url)
        if self.lose_answers:
            self.lose_answers -= 1
            raise AnswerLost(f"the connection to {url} broke before the answer", sent=True)
        stale, self._stale = self._stale, None
        if self.answer_twice:
            self.answer_twice -= 1
            self._stale = answer
        return stale or answer

    async def _handle(self, method: str, url: str, body: bytes | None) -> tuple[int, bytes]:
        if self.delay_seconds:
            await self._clock.sleep(self.delay_seconds)
        start = url.find("/", 8)
        return await self._handler(method, url[start:] if start > 0 else "/", body)

    async def _within(self, seconds: float, work: Awaitable[tuple[int, bytes]], url: str) -> tuple[int, bytes]:
        task = asyncio.ensure_future(work)
        late = False

        def expire() -> None:
            nonlocal late
            late = not task.done()
            task.cancel()

        timer = self._clock.call_later(seconds, expire)
        try:
            return await task
        except asyncio.CancelledError:
            if late:
                raise ExchangeTimeout(f"{url} did not answer in time", sent=True) from None
            raise
        except ConnectionError as error:
            raise AnswerLost(f"the connection to {url} broke before the answer", sent=True) from error
        finally:
            timer.cancel()
            task.cancel()
