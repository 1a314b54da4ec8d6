"""What agents send by themselves: late replies to commands, and reports of what happened on their machine.

Served apart from the API, over TLS, to clients with a certificate of the cloud's own authority. A machine may report only
about itself: its certificate carries its uuid.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import structlog
from starlette.types import Receive, Scope, Send

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
        deliver: takes the body of a reply (`AgentClient.deliver`).
        report: is given each report, once for each time the machine sends it.
    """

    def __init__(self, deliver: Callable[[bytes], bool], report: Callable[[Report], Awaitable[None]]) -> None:
        self._deliver = deliver
        self._report = report
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
        body = await request.body(MAX_BODY_BYTES)
        try:
            self._deliver(body)
        except CairnError as error:
            # Refused for good: sending it again would not help.
            raise HttpError(error.code, error.message, status=400) from error
        return Reply(b"{}")

    async def _take_report(self, request: HttpRequest) -> Reply:
        try:
            report = _report_decoder.decode(await request.body(MAX_BODY_BYTES))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise HttpError("agent.bad-report", f"The body is not a report: {error}.", status=400) from error
        names = request.scope.get("state", {}).get("peer_names")
        if names is not None and report.host not in names:
            raise CairnError(
                "agent.not-yours",
                f"The report is about {report.host}, but the certificate is for {', '.join(sorted(names)) or 'nobody'}. "
                "A machine reports about itself only; deploy its agent again.",
                kind=ErrorKind.FORBIDDEN,
            )
        await self._report(report)
        return Reply(b"{}")
