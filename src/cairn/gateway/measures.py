"""The page of metrics: at the API for whoever has the token, and at addresses of its own for everybody who reaches them."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Final

from starlette.types import Receive, Scope, Send

from cairn.gateway.http import HttpRequest, Reply, json_reply

PATH: Final = "/metrics"


class MetricsPage:
    """The ASGI app of addresses that serve metrics only. Its health is that of the process.

    Args:
        render: makes the page.
    """

    def __init__(self, render: Callable[[], bytes]) -> None:
        self._render = render

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] == "http":
            there = scope["path"] == PATH and scope["method"] in ("GET", "HEAD")
            reply = metrics_reply(self._render) if there else json_reply({"places": {"metrics": PATH}}, 404)
            await reply(scope, receive, send)


def metrics_reply(render: Callable[[], bytes]) -> Reply:
    """The page, in the format of Prometheus."""
    return Reply(render(), media_type=b"text/plain; version=0.0.4; charset=utf-8")


def has_token(request: HttpRequest, token: str) -> bool:
    """Whether the request shows this token; never if there is none."""
    scheme, _, given = (request.header(b"authorization") or "").partition(" ")
    if not token or scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(given.strip().encode("latin-1", "replace"), token.encode())
