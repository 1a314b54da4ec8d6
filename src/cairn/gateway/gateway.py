"""The gateway of one node: every API message class and every entity of the schema, served over HTTP.

A request goes: path and verb to an endpoint; body or query string to a message; the session and its rights; what the
message refers to; then a command becomes a job, and a query is answered at once. Errors of whatever origin end here, as
problem+json. There is no stack of middleware: each request passes through exactly this.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final, cast

import structlog
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from cairn.gateway.auth import Authenticator, Caller, admit, context_of
from cairn.gateway.binding import ApiBinding
from cairn.gateway.commands import JOBS_PATH, Commands, JobControl, seconds_of
from cairn.gateway.connection import LATER
from cairn.gateway.events import EventStreams
from cairn.gateway.http import Disconnected, Endpoint, HttpRequest, Reply, json_reply, problem_reply
from cairn.gateway.measures import has_token, metrics_reply
from cairn.gateway.metadata import Metadata
from cairn.gateway.openapi import openapi
from cairn.gateway.problem import HttpError
from cairn.gateway.proxies import Proxies
from cairn.gateway.queries import Queries, collection_path
from cairn.gateway.references import References
from cairn.gateway.render import body_of
from cairn.gateway.route import Router
from cairn.gateway.server import Address, HttpServer
from cairn.gateway.waiting import Answer, Later, Waiting
from cairn.gateway.words import nearest
from cairn.kernel.admission import Admission
from cairn.kernel.api import Access, AnyApi, ApiCommand, ApiQuery
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.context import entered
from cairn.kernel.bus.tasks import Tasks
from cairn.kernel.clock import Clock
from cairn.kernel.config import AnySetting
from cairn.kernel.error import CairnError, ErrorKind, internal
from cairn.kernel.event import Events
from cairn.kernel.guard import Guards
from cairn.kernel.ids import IdSource
from cairn.kernel.job import Job
from cairn.kernel.metrics import Metrics
from cairn.kernel.query.engine import QueryEngine
from cairn.kernel.query.plan import Scope as Eyes
from cairn.kernel.readiness import Readiness
from cairn.kernel.settings import Settings
from cairn.kernel.store.store import Store
from cairn.kernel.tag import Tags

PREFIX: Final = "/v1"
_VARIABLE: Final = re.compile(r"\{[^}]*\}")
_log = structlog.get_logger("cairn.gateway")


class Gateway:
    """Serves the API. Itself the ASGI app.

    Args:
        apis: the API message classes of all services and plugins.
        settings: of the node.
        store: for looking up what calls refer to.
        query: answers queries; its schema gives the collections.
        jobs: takes commands.
        bus: takes queries of services.
        events: for the stream of events.
        metrics: what is shown at ``/metrics``, and where requests are counted.
        authenticator: knows the sessions.
        ids: for jobs.
        clock: for measuring.
        tags: which system tags there are.
        guards: may veto calls.
        configuration: the global configuration's settings, for ``/v1/schema``.
        readiness: whether the node takes calls; for ``/readyz``.
        mounts: first segment of a path -> another app that serves everything below it: other dialects, the web UI.

    Raises:
        TypeError: two APIs or collections on one path and verb, or an API that could never be called.
    """

    def __init__(
        self,
        *,
        apis: Sequence[type[AnyApi]],
        settings: Settings,
        store: Store,
        query: QueryEngine,
        jobs: JobControl,
        bus: Bus,
        events: Events,
        metrics: Metrics,
        authenticator: Authenticator,
        ids: IdSource,
        clock: Clock,
        tags: Tags,
        guards: Guards | None = None,
        configuration: Sequence[AnySetting] = (),
        readiness: Callable[[], Readiness] = Readiness,
        mounts: Mapping[str, ASGIApp] | None = None,
    ) -> None:
        self._bus = bus
        self._metrics = metrics
        self._clock = clock
        self._authenticator = authenticator
        self._readiness = readiness
        self._mounts = dict(mounts or {})
        self._proxies = Proxies(settings.trusted_proxies)
        self._metrics_token = settings.metrics_token
        self._max_body_bytes = settings.max_body_bytes
        self._waiting = Waiting(clock, jobs)
        self._answers = Tasks()  #: that make the answers of requests that were held
        self._references = References(store, query)
        admission = Admission(store, guards or Guards())
        self._commands = Commands(
            jobs, query, self._references, authenticator, ids, self._waiting, tags, admission, self._proxies
        )
        self._seconds = metrics.histogram("cairn_http_seconds", "Requests, by API and status.", "api", "status")
        self._server: HttpServer | None = None
        self._openapi: bytes | None = None
        entities = query.schema()
        records = store.schema.by_entity
        self.paths = {entity: records[entity].meta.path or collection_path(entity) for entity in entities}
        by_path = {path: entity for entity, path in self.paths.items()}
        self.bindings = [ApiBinding(api, by_path) for api in sorted(apis, key=lambda api: api.__name__)]
        self._queries = Queries(query, authenticator, records)
        self._metadata = Metadata(self.bindings, entities, self.paths, configuration)
        self._streams = EventStreams(events, store, authenticator, self._waiting)
        self._router = Router()
        self._add_apis()
        self._add_collections()
        self._add_fixed()

    @property
    def app(self) -> ASGIApp:
        """The ASGI app, for servers other than `serve`'s: the gateway itself."""
        return self

    async def serve(self, listeners: Sequence[Address]) -> list[Address]:
        """Listen on these addresses; returns them as they are (a port 0 is one that the system has chosen).

        Raises:
            CairnError: ``gateway.cannot-listen``.
        """
        self._server = HttpServer(self)
        return await self._server.start(listeners)

    async def stop(self) -> None:
        """Answer the requests that wait, let running ones end, and close. Safe to repeat."""
        self._waiting.stop()
        if self._server is not None:
            await self._server.stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI), or hand it to the app that is mounted at its path."""
        if scope["type"] != "http":
            return
        if self._mounts:
            mounted = self._mounts.get(scope["path"].split("/", 2)[1])
            if mounted is not None:
                await mounted(scope, receive, send)
                return
        request = HttpRequest(scope, receive)
        request.started = self._clock.monotonic()
        try:
            response = await self._answer(request, self._reach(request), send)
        except Disconnected:
            return
        if response is not None:
            await response(scope, receive, send)

    async def _reach(self, request: HttpRequest) -> Response | Later:
        endpoint, request.variables = self._router.find(request.verb, request.path)
        return await endpoint(request)

    async def _answer(
        self, request: HttpRequest, work: Awaitable[Response | Later], send: Send | None = None
    ) -> Response | None:
        """The answer that `work` makes, whatever goes wrong; None: it comes later, through `send`."""
        try:
            response = await work
            if isinstance(response, Later):
                if send is not None and self._hold(request, response, send):
                    return None
                response = await response.answer(response.seconds, None)
        except CairnError as error:
            if error.kind is ErrorKind.INTERNAL:
                _log.error("gateway.internal-error", path=request.path, code=error.code, error=str(error))
            response = problem_reply(error, to_admin=request.from_admin)
        except Disconnected:
            raise
        except Exception as error:  # noqa: BLE001 (the edge: whatever it is, the caller is answered)
            _log.exception("gateway.bug", verb=request.verb, path=request.path)
            response = problem_reply(internal(f"{request.verb} {request.path}", error), to_admin=request.from_admin)
        self._seconds.of(request.name, str(response.status_code)).observe(self._clock.monotonic() - request.started)
        return response

    def _hold(self, request: HttpRequest, later: Later, send: Send) -> bool:
        """Have the answer come later, if the server can do that. Then nothing of the request is kept but this."""
        may_come: Callable[[Callable[[], None]], None] | None = request.scope.get("extensions", {}).get(LATER)
        if may_come is None:
            return False
        held = self._waiting.hold(later, partial(self._resume, request, later.answer, send))
        if held is None:
            return False
        may_come(held.drop)
        request.forget()
        return True

    def _resume(self, request: HttpRequest, answer: Answer, send: Send, left: float, ended: Job | None) -> None:
        self._answers.start(self._finish(request, answer(left, ended), send), "held answer")

    async def _finish(self, request: HttpRequest, work: Awaitable[Response], send: Send) -> None:
        response = await self._answer(request, work)
        assert response is not None, "it is not held again"
        await response(request.scope, request.receive, send)

    # -- routes -----------------------------------------------------------------------------------------------------

    def _add_apis(self) -> None:
        actions: dict[tuple[str, str], list[ApiBinding]] = {}
        for binding in self.bindings:
            shape = _VARIABLE.sub("{}", binding.http.path)
            actions.setdefault((binding.http.verb, shape), []).append(binding)
        for (verb, _), bindings in actions.items():
            path = PREFIX + bindings[0].http.path
            if verb == "PUT":
                self._router.add(verb, path, self._action(bindings))
                continue
            for binding in bindings:
                self._router.add(verb, path, self._of_body(binding) if binding.has_body else self._of_query(binding))

    def _add_collections(self) -> None:
        for entity, path in self.paths.items():
            self._router.add("GET", PREFIX + path, self._queries.collection(entity))
            self._router.add("GET", f"{PREFIX}{path}/{{uuid}}", self._queries.one(entity))

    def _add_fixed(self) -> None:
        fixed: list[tuple[str, str, Endpoint]] = [
            ("GET", "/", self._index),
            ("GET", PREFIX, self._index),
            ("GET", "/healthz", self._healthz),
            ("GET", "/readyz", self._readyz),
            ("GET", "/metrics", self._show_metrics),
            ("GET", f"{PREFIX}/schema", self._show_schema),
            ("GET", f"{PREFIX}/openapi.json", self._show_openapi),
            ("GET", f"{PREFIX}/events", self._streams.endpoint),
            ("GET", f"{JOBS_PATH}/{{uuid}}", self._commands.show),
            ("DELETE", f"{JOBS_PATH}/{{uuid}}", self._commands.cancel),
        ]
        for verb, path, endpoint in fixed:
            self._router.add(verb, path, endpoint)

    # -- APIs -------------------------------------------------------------------------------------------------------

    def _of_body(self, binding: ApiBinding) -> Endpoint:
        async def endpoint(request: HttpRequest) -> Response | Later:
            body = await self._object(request)
            return await self._perform(request, binding, lambda: binding.of_body(body, request.variables))

        return endpoint

    def _of_query(self, binding: ApiBinding) -> Endpoint:
        async def endpoint(request: HttpRequest) -> Response | Later:
            return await self._perform(request, binding, lambda: binding.of_query(request.query, request.variables))

        return endpoint

    def _action(self, bindings: Sequence[ApiBinding]) -> Endpoint:
        """Several actions share a path; the body's key tells which one is meant."""
        by_key = {binding.key: binding for binding in bindings}
        if len(by_key) < len(bindings):
            names = ", ".join(binding.name for binding in bindings)
            raise TypeError(f"PUT {bindings[0].http.path}: two of {names} have the same key; give each its own")
        if len(bindings) == 1:
            return self._of_body(bindings[0])

        async def endpoint(request: HttpRequest) -> Response | Later:
            body = await self._object(request)
            binding = _chosen(by_key, body, request.path)
            return await self._perform(request, binding, lambda: binding.of_body(body, request.variables))

        return endpoint

    async def _object(self, request: HttpRequest) -> dict[str, object]:
        body = await request.json(self._max_body_bytes)
        if body is None:
            return {}
        if isinstance(body, dict):
            return body
        raise HttpError("api.malformed-json", "The body is JSON, but not an object; send {…}.", status=400)

    async def _perform(self, request: HttpRequest, binding: ApiBinding, read: Callable[[], AnyApi]) -> Response | Later:
        request.name = binding.name
        caller = await admit(request, binding.access, self._authenticator, binding.name)
        message = read()
        if binding.is_command:
            return await self._commands.submit(request, binding, cast("ApiCommand[object]", message), caller)
        return await self._ask(request, binding, cast("ApiQuery[object]", message), caller)

    async def _ask(
        self, request: HttpRequest, binding: ApiBinding, message: ApiQuery[object], caller: Caller | None
    ) -> Response:
        given = request.header(b"x-api-timeout")
        timeout_seconds = None if given is None else seconds_of(given)
        missing = await self._references.missing(binding, message, Eyes() if caller is None else caller.scope)
        if missing:
            raise self._references.not_found(binding, missing)
        with entered(context_of(caller, request.address(self._proxies))):
            answer = await self._bus.call(message, timeout_seconds=timeout_seconds)
        return Reply(body_of(answer))

    # -- the node itself -----------------------------------------------------------------------------------------------

    async def _index(self, request: HttpRequest) -> Response:
        places = {
            "api": f"{PREFIX}/openapi.json",
            "schema": f"{PREFIX}/schema",
            "events": f"{PREFIX}/events",
            "jobs": f"{JOBS_PATH}/{{uuid}}",
            "health": "/healthz",
            "readiness": "/readyz",
            "metrics": "/metrics",
            **{name: f"/{name}/" for name in self._mounts},
        }
        return json_reply({"name": "cairn", "places": places})

    async def _healthz(self, request: HttpRequest) -> Response:
        return json_reply({"status": "ok"})

    async def _readyz(self, request: HttpRequest) -> Response:
        found = self._readiness()
        status = "ready" if found.ready else "not ready"
        return json_reply(
            {"status": status, "reasons": found.reasons, "behind": found.behind}, 200 if found.ready else 503
        )

    async def _show_metrics(self, request: HttpRequest) -> Response:
        if not has_token(request, self._metrics_token):
            await admit(request, Access.ADMIN, self._authenticator, "GetMetrics")
        return metrics_reply(self._metrics.render)

    async def _show_schema(self, request: HttpRequest) -> Response:
        return Reply(await asyncio.to_thread(self._metadata.body))

    async def _show_openapi(self, request: HttpRequest) -> Response:
        if self._openapi is None:
            self._openapi = await asyncio.to_thread(openapi, self._metadata)
        return Reply(self._openapi)


def _chosen(by_key: Mapping[str, ApiBinding], body: Mapping[str, object], path: str) -> ApiBinding:
    keys = [key for key in body if key in by_key]
    if len(keys) == 1:
        return by_key[keys[0]]
    known = sorted(by_key)
    if keys:
        found, code = f"the actions {', '.join(keys)}", "api.several-actions"
    else:
        found, code = f"{', '.join(list(body)[:5])[:100] or 'nothing'}", "api.no-action"
    near = next((one for one in (nearest(key, known) for key in body) if one), "")
    hint = f" Did you mean {near}?" if near and not keys else ""
    raise HttpError(
        code,
        f"The body of PUT {path} names one action; found {found}; one of {', '.join(known)} would fit.{hint}",
        status=400,
        details={"fits": known},
    )
