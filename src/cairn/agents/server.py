"""The agent's HTTP server: commands, tasks, ping, and the routes that a role adds."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from aiohttp import web

from cairn.agents import log
from cairn.agents.errors import AgentError
from cairn.agents.protocol import codes
from cairn.agents.protocol.wire import MAX_REQUEST_BYTES, Pong, Reply, Request
from cairn.agents.tasks import TaskTable
from cairn.agents.tls import is_management_node

#: An exchange is never held open longer, whatever the caller wishes.
MAX_WAIT_SECONDS = 60.0

_STATUS = {codes.BAD_REQUEST: 400, codes.FORBIDDEN: 403, codes.HYPERVISOR_UNAVAILABLE: 503, codes.INTERNAL: 500}
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """The routes of the protocol over a `TaskTable`.

    Args:
        tasks: where commands go.
        ping: makes the `Pong`; an `AgentError` it raises is answered with 503.
        trusted: True on loopback without TLS, where there are no certificates to check.
    """

    def __init__(self, tasks: TaskTable, ping: Callable[[], Awaitable[Pong]], *, trusted: bool) -> None:
        self._tasks = tasks
        self._ping = ping
        self._trusted = trusted
        self.app = web.Application(client_max_size=MAX_REQUEST_BYTES, middlewares=[_errors])
        self.app.router.add_post("/v1/commands", self.for_management(self._command))
        self.app.router.add_get("/v1/tasks/{task}", self.for_management(self._task))
        self.app.router.add_delete("/v1/tasks/{task}", self.for_management(self._cancel))
        self.app.router.add_get("/v1/ping", self.for_management(self._pong))

    def for_management(self, handler: _Handler) -> _Handler:
        """`handler`, for callers with the management node's certificate only."""

        async def checked(request: web.Request) -> web.StreamResponse:
            if not self._trusted and not is_management_node(_peer_certificate(request)):
                raise AgentError(codes.FORBIDDEN, "Only the management node's certificate may call this.")
            return await handler(request)

        return checked

    async def _command(self, http: web.Request) -> web.StreamResponse:
        try:
            request = msgspec.json.decode(await http.read(), type=Request)
        except msgspec.MsgspecError as error:
            raise AgentError(codes.BAD_REQUEST, f"The request does not fit: {error}.") from error
        task = self._tasks.submit(request)
        reply = await self._tasks.wait(task, min(request.wait_seconds, MAX_WAIT_SECONDS))
        if reply is None and request.callback is not None:
            self._tasks.call_back(task, request.callback)
        return _answer(reply)

    async def _task(self, http: web.Request) -> web.StreamResponse:
        task = self._tasks.find(http.match_info["task"])
        if task is None:
            return web.json_response({}, status=404)
        return _answer(task.reply)

    async def _cancel(self, http: web.Request) -> web.StreamResponse:
        task = await self._tasks.cancel(http.match_info["task"], MAX_WAIT_SECONDS)
        if task is None:
            return web.json_response({}, status=404)
        return _answer(task.reply if task.over.is_set() else None)

    async def _pong(self, _: web.Request) -> web.StreamResponse:
        return _json(await self._ping())


def _no_task(error: AgentError) -> Reply:
    return Reply(task="", error=error.failure())


def _answer(reply: Reply | None) -> web.Response:
    return web.json_response({}, status=202) if reply is None else _json(reply)


def _json(value: msgspec.Struct, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


def _peer_certificate(request: web.Request) -> Mapping[str, object] | None:
    transport = request.transport
    connection = transport.get_extra_info("ssl_object") if transport is not None else None
    return connection.getpeercert() if isinstance(connection, ssl.SSLObject) else None


@web.middleware
async def _errors(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Answer errors of the exchange as a `Reply` to no task."""
    try:
        return await handler(request)
    except AgentError as error:
        return _json(_no_task(error), status=_STATUS.get(error.code, 503))
    except web.HTTPRequestEntityTooLarge:
        too_large = AgentError(codes.BAD_REQUEST, f"The request is longer than {MAX_REQUEST_BYTES} bytes.")
        return _json(_no_task(too_large), status=413)
    except web.HTTPException:
        raise
    except Exception as error:  # noqa: BLE001 - the edge: a bug becomes an answer and a log line
        log.exception("request.bug", path=request.path)
        bug = AgentError(
            codes.INTERNAL, f"{type(error).__name__}: {error}. This is a bug; the agent's log has the trace."
        )
        return _json(_no_task(bug), status=500)
