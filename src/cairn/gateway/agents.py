"""What agents send by themselves: late replies to commands, and reports of what happened on their machine.

Served apart from the API, over TLS, to clients with a certificate of the cloud's own authority. A machine may report only
about itself, and reply only to what it was asked itself: its certificate carries its uuid. One whose certificate was revoked
is refused, even on a connection that it opened before.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import structlog
from starlette.types import Receive, Scope, Send

from cairn.agents.protocol.peer import Peer
from cairn.agents.protocol.wire import Report
from cairn.gateway.http import Disconnected, HttpRequest, Reply, problem_reply
from cairn.gateway.problem import HttpError
from cairn.gateway.route import Router
from cairn.kernel.error import CairnError, ErrorKind, internal

CALLBACK_PATH: Final = "/agents/callback"
REPORT_PATH: Final = "/agents/report"
MAX_BODY_BYTES: Final = 16 << 20

_log = structlog.get_logger("cairn.gateway.agents")
_report_decoder = msgspec.json.Decoder(Report)


class AgentCallbacks:
    """The ASGI app for agents.

    Args:
        deliver: takes the body of a reply, and the uuid of the machine that sends it (`AgentClient.deliver`).
        report: is given each report, once for each time the machine sends it.
        is_revoked: whether a certificate, by its serial number, is good no longer.
    """

    def __init__(
        self,
        deliver: Callable[[bytes, str | None], bool],
        report: Callable[[Report], Awaitable[None]],
        is_revoked: Callable[[int], bool] = lambda serial: False,
    ) -> None:
        self._deliver = deliver
        self._report = report
        self._is_revoked = is_revoked
        self._router = Router()
        self._router.add("POST", CALLBACK_PATH, self._take_reply)
        self._router.add("POST", REPORT_PATH, self._take_report)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request of an agent (ASGI). An agent that has gone gets no answer."""
        if scope["type"] != "http":
            return
        try:
            answer = await self._answer(HttpRequest(scope, receive))
        except Disconnected:
            return
        await answer(scope, receive, send)

    async def _answer(self, request: HttpRequest) -> Reply:
        try:
            endpoint, request.variables = self._router.find(request.verb, request.path)
            answer = await endpoint(request)
            assert isinstance(answer, Reply)
            return answer
        except CairnError as error:
            return problem_reply(error)
        except Disconnected:
            raise
        except Exception as error:  # noqa: BLE001 (the edge: whatever it is, the agent is answered, and tries again)
            _log.exception("agents.bug", path=request.path)
            return problem_reply(internal(request.path, error))

    async def _take_reply(self, request: HttpRequest) -> Reply:
        peer = self._peer(request)
        body = await request.body(MAX_BODY_BYTES)
        try:
            self._deliver(body, peer.uuid if peer is not None else None)
        except CairnError as error:
            # Refused for good: sending it again would not help.
            status = 403 if error.kind is ErrorKind.FORBIDDEN else 400
            raise HttpError(error.code, error.message, status=status) from error
        return Reply(b"{}")

    async def _take_report(self, request: HttpRequest) -> Reply:
        peer = self._peer(request)
        try:
            report = _report_decoder.decode(await request.body(MAX_BODY_BYTES))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise HttpError("agent.bad-report", f"The body is not a report: {error}.", status=400) from error
        if peer is not None and report.host != peer.uuid:
            raise CairnError(
                "agent.not-yours",
                f"The report is about {report.host}, but the certificate is for {peer.uuid}. "
                "A machine reports about itself only; deploy its agent again.",
                kind=ErrorKind.FORBIDDEN,
            )
        await self._report(report)
        return Reply(b"{}")

    def _peer(self, request: HttpRequest) -> Peer | None:
        """Whose certificate the client has shown; None without TLS, which no node listens without.

        Raises:
            CairnError: ``agent.revoked``.
        """
        state = request.scope.get("state", {})
        if "peer" not in state:
            return None
        peer = state["peer"]
        if not isinstance(peer, Peer) or self._is_revoked(peer.serial):
            raise CairnError(
                "agent.revoked",
                "The certificate is good no longer: the machine was taken out of the cloud. Add it again.",
                kind=ErrorKind.FORBIDDEN,
            )
        return peer
