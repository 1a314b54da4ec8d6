"""A node as the commands see it: sessions that renew themselves, queries, calls, and jobs followed to their end."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Protocol, cast
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Struct

from cairn.cli.errors import CliError, Exit, Problem, not_logged_in, refused, unfinished, usage
from cairn.cli.http import Http, Response, problem_in
from cairn.cli.schema import Api, Schema, decode, nearest
from cairn.cli.session import Credentials, Session, SessionStore

Json = dict[str, object]
_LOGIN = "/v1/accounts/login"
#: How long each look at a job waits for its end: short at first, so that short jobs are over at once.
_PATIENCE = (0.3, 0.5, 1.0, 2.0)
_PAGE = "1000"
_MARGIN_SECONDS = 30.0
_NO_SESSION = "There is no session."
_EXPIRED = "The session has expired."


class Request(Struct, frozen=True, kw_only=True):
    """A call, ready to be sent."""

    verb: str
    path: str  #: below the node's URL, without a query string
    query: tuple[tuple[str, str], ...] = ()
    body: Json | None = None

    @property
    def target(self) -> str:
        """Path and query string."""
        return f"{self.path}?{urlencode(self.query)}" if self.query else self.path


class Progress(Struct, frozen=True):
    """The progress of a job."""

    step: str = ""
    percent: int = 0


class Job(Struct, frozen=True, kw_only=True, rename="camel"):
    """A job as the API shows it."""

    uuid: str
    api: str = ""
    state: str = "Waiting"
    create_date: str | None = None
    finish_date: str | None = None
    progress: Progress | None = None
    result: Json | None = None
    error: Problem | None = None

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.state in ("Waiting", "Running")


class Watcher(Protocol):
    """Is told how a job gets on."""

    def __call__(self, job: Job) -> None:
        """The job as it is now."""


class Page(Struct, frozen=True, kw_only=True):
    """A page of resources, the answer to a query."""

    inventories: list[Json] = []
    total: int | None = None
    next: str | None = None  #: the `after` of the next page


class Client:
    """One node, for one user.

    Args:
        http: how it is reached.
        sessions: where sessions are kept.
        credentials: passwords that need no asking.
        monotonic: the time in seconds, for time limits.
    """

    def __init__(
        self,
        http: Http,
        sessions: SessionStore,
        credentials: Credentials,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.http = http
        self.url = http.url
        self._sessions = sessions
        self._credentials = credentials
        self._monotonic = monotonic
        self._session = sessions.get(http.url)

    # -- sessions ---------------------------------------------------------------------------------------------------

    def log_in(self, account: str, password: str) -> Session:
        """Begin a session and keep it."""
        self._session = self.session_of(account, password)
        self._sessions.put(self.url, self._session)
        return self._session

    def session_of(self, account: str, password: str) -> Session:
        """Begin a session beside the one that is kept."""
        body = {"logInByAccount": {"accountName": account, "password": password}}
        response = self.http.request("PUT", _LOGIN, msgspec.json.encode(body))
        inventory = cast("Json", _object(_checked(response)).get("inventory") or {})
        return Session(uuid=str(inventory["uuid"]), account=account)

    def log_out(self) -> bool:
        """End the session and forget it. Returns whether there was one. Safe to repeat."""
        session, self._session = self._session, None
        if session is None:
            return False
        self._sessions.drop(self.url)
        self.http.request("DELETE", f"/v1/accounts/sessions/{session.uuid}", headers=_authorized(session))
        return True

    def session_uuid(self) -> str:
        """A session that is valid now, for programs that send requests of their own."""
        self.call(Request(verb="GET", path="/v1/zones", query=(("limit", "1"),)))
        return self._ensure_session(_NO_SESSION).uuid

    def _ensure_session(self, why: str) -> Session:
        if self._session is None:
            account = self._credentials.account
            password = self._credentials.password(self.url, account)
            if password is None:
                raise not_logged_in(self.url, why)
            try:
                return self.log_in(account, password)
            except CliError as error:
                if error.exit_code is Exit.UNREACHABLE:
                    raise
                raise not_logged_in(self.url, f"Logging in as {account} failed: {error.problem.detail}") from error
        return self._session

    # -- calls ------------------------------------------------------------------------------------------------------

    def call(
        self, request: Request, *, headers: dict[str, str] | None = None, timeout_seconds: float = 60.0
    ) -> Response:
        """Send a request with a session; logs in (again) where that needs no questions.

        Raises:
            CliError: exit code 1 if the node refuses the call, 3 if it does not answer or wants a login.
        """
        why = _NO_SESSION
        for last in (False, True):
            session = self._ensure_session(why)
            response = self.http.request(
                request.verb,
                request.target,
                None if request.body is None else msgspec.json.encode(request.body),
                {**_authorized(session), **(headers or {})},
                timeout_seconds=timeout_seconds,
            )
            if response.status != 401 or last:
                break
            self._forget()
            why = _EXPIRED
        if response.status == 401:
            raise not_logged_in(self.url, problem_in(response).detail)
        return _checked(response)

    @cached_property
    def schema(self) -> Schema:
        """The node's APIs and entities, fetched once."""
        return decode(_checked(self.http.request("GET", "/v1/schema")).body)

    def api(self, name: str) -> Api:
        """The API of that name (usage error with near names)."""
        api = self.schema.api(name)
        if api is None:
            raise usage(
                f"There is no command and no API {name!r}.{nearest(name, list(self.schema.by_command))} "
                "cairn apis lists all.",
                code="cli.no-such-api",
            )
        return api

    def query(
        self,
        entity: str,
        conditions: Sequence[str] = (),
        *,
        options: Sequence[tuple[str, str]] = (),
        timeout_seconds: float = 60.0,
    ) -> Page:
        """One page of the resources that fit all conditions. `options` are ``limit``, ``sort``, ``fields``, ``start``, …"""
        found = self.schema.by_entity.get(entity)
        if found is None:
            raise refused(f"The node knows no {entity}; its plugin may be left out.", code="cli.no-such-entity")
        query = (*(("q", condition) for condition in conditions), *options)
        response = self.call(Request(verb="GET", path=found.path, query=query), timeout_seconds=timeout_seconds)
        return msgspec.json.decode(response.body, type=Page)

    def all(
        self, entity: str, conditions: Sequence[str] = (), *, options: Sequence[tuple[str, str]] = ()
    ) -> Iterator[Json]:
        """All resources that fit all conditions, page by page; each page costs the node the same. Those that are made meanwhile
        may be among them."""
        behind: tuple[tuple[str, str], ...] = ()
        while True:
            page = self.query(entity, conditions, options=(*options, ("limit", _PAGE), *behind))
            yield from page.inventories
            if page.next is None:
                return
            behind = (("after", page.next),)

    # -- jobs -------------------------------------------------------------------------------------------------------

    def submit(self, request: Request, *, timeout_seconds: float = 60.0) -> Job:
        """Send a call that becomes a job. It is known by its uuid from the beginning, so sending it is safe to repeat."""
        response = self.call(request, headers={"X-Job-UUID": uuid.uuid4().hex}, timeout_seconds=timeout_seconds)
        return msgspec.json.decode(response.body, type=Job)

    def job(self, job: str, wait_seconds: float = 0.0) -> Job:
        """The job as it is, or as it is when it ends within `wait_seconds`."""
        query = (("wait", f"{wait_seconds:g}"),) if wait_seconds > 0 else ()
        request = Request(verb="GET", path=f"/v1/api-jobs/{quote(job, safe='')}", query=query)
        response = self.call(request, timeout_seconds=wait_seconds + _MARGIN_SECONDS)
        return msgspec.json.decode(response.body, type=Job)

    def cancel(self, job: str) -> Job:
        """Ask a job to end, with what it did undone."""
        request = Request(verb="DELETE", path=f"/v1/api-jobs/{quote(job, safe='')}")
        return msgspec.json.decode(self.call(request).body, type=Job)

    def follow(self, job: Job, watcher: Watcher | None = None, timeout_seconds: float | None = None) -> Job:
        """Wait for a job's end.

        Args:
            job: as it was seen last.
            watcher: is told each time it is looked at.
            timeout_seconds: give up after that time; None: never.

        Raises:
            CliError: exit code 4 at the time-out, and when Ctrl-C ends the waiting; the job goes on.
        """
        deadline = None if timeout_seconds is None else self._monotonic() + timeout_seconds
        try:
            looks = 0
            while job.is_open:
                if watcher is not None:
                    watcher(job)
                wait = _PATIENCE[min(looks, len(_PATIENCE) - 1)]
                if deadline is not None:
                    wait = min(wait, deadline - self._monotonic())
                    if wait <= 0:
                        raise unfinished(job.uuid, f"It took longer than {timeout_seconds:g} s.")
                job = self.job(job.uuid, wait)
                looks += 1
        except KeyboardInterrupt:
            raise unfinished(job.uuid, "You stopped waiting.") from None
        return job

    def finish(self, job: Job, watcher: Watcher | None = None, timeout_seconds: float | None = None) -> Json:
        """Wait for a job's end and return its result (exit code 1 with its error)."""
        return result_of(self.follow(job, watcher, timeout_seconds))

    def events(self, after: int | None, names: Sequence[str]) -> Iterator[Json]:
        """Events as they happen; from the one behind the number `after` on, or from now on. Ends when the node stops.

        Raises:
            CliError: the node closes the stream and says why: the session has ended.
        """
        query = [("names", name) for name in names]
        if after is not None:
            query.append(("after", str(after)))
        target = f"/v1/events?{urlencode(query)}" if query else "/v1/events"
        kind = ""
        for line in self._lines(target):
            name, _, value = line.partition(":")
            if name == "event":
                kind = value.strip()
            elif name == "data" and kind == "closed":
                raise CliError(Exit.REFUSED, msgspec.json.decode(value, type=Problem))
            elif name == "data":
                yield msgspec.json.decode(value, type=dict[str, object])

    def _lines(self, target: str) -> Iterator[str]:
        try:
            yield from self.http.lines(target, _authorized(self._ensure_session(_NO_SESSION)))
        except CliError as error:
            if error.problem.status != 401:
                raise
            self._forget()
            yield from self.http.lines(target, _authorized(self._ensure_session(_EXPIRED)))

    def _forget(self) -> None:
        self._session = None
        self._sessions.drop(self.url)


def result_of(job: Job) -> Json:
    """The result of a job that has ended (exit code 1 with its error)."""
    if job.state == "Succeeded":
        return job.result or {}
    problem = job.error or Problem(title=job.state, detail=f"The job ended as {job.state}.", code="job.ended")
    raise CliError(Exit.REFUSED, msgspec.structs.replace(problem, job=job.uuid))


def _authorized(session: Session) -> dict[str, str]:
    return {"Authorization": f"OAuth {session.uuid}"}


def _object(response: Response) -> Json:
    return msgspec.json.decode(response.body or b"{}", type=dict[str, object])


def _checked(response: Response) -> Response:
    if response.status >= 400:
        raise CliError(Exit.REFUSED, problem_in(response))
    return response
