"""Calls that change something: from a decoded message to a job, and how a caller sees the job.

A call is refused before it becomes a job if it refers to something that is not there. Once it is a job it is answered
202, or, if the caller prefers to wait (``Prefer: wait=30``), 200 with its result. 200 always comes with the result: so
does the removal of a resource that is gone already, which needs no job.

Calls are safe to repeat with the same ``X-Job-UUID``. For that the uuid of a new resource, when the caller gives none,
is worked out from the job's: the repeated call is the same call. A repeated call whose resource has gone meanwhile is
answered with its job, not with "not found".
"""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Annotated, Final, Protocol, cast

import msgspec
from msgspec import Meta, Struct
from starlette.responses import Response

from cairn.gateway.auth import Authenticator, Caller, admit, context_of
from cairn.gateway.binding import ApiBinding
from cairn.gateway.http import HttpRequest, Reply, json_reply, problem_reply
from cairn.gateway.problem import HttpError, Problem, problem
from cairn.gateway.proxies import Proxies
from cairn.gateway.references import References
from cairn.gateway.render import answer_of
from cairn.gateway.shape import Shape
from cairn.gateway.waiting import Later, Stopping, Waiting
from cairn.kernel.admission import Admission, check_call
from cairn.kernel.api import Access, ApiCommand
from cairn.kernel.bus.context import entered
from cairn.kernel.error import CairnError, ErrorKind, from_record
from cairn.kernel.ids import IdSource, JobId, is_uuid
from cairn.kernel.job import OPEN, Job, JobState
from cairn.kernel.jobs import Progress
from cairn.kernel.open_jobs import Waiter
from cairn.kernel.query.engine import QueryEngine
from cairn.kernel.query.plan import Scope
from cairn.kernel.slots import BACKLOG_FULL
from cairn.kernel.tag import Tags

LONGEST_WAIT_SECONDS: Final = 300.0
LONGEST_TIMEOUT_SECONDS: Final = 7 * 86_400.0
RETRY_AFTER_SECONDS: Final = 10
JOBS_PATH: Final = "/v1/api-jobs"
_WAIT: Final = re.compile(r"\bwait\s*=\s*\"?([0-9]{1,6})")


class JobControl(Protocol):
    """The part of `cairn.kernel.jobs.Jobs` that the gateway needs."""

    async def submit(
        self,
        job: JobId,
        message: ApiCommand[object],
        *,
        actor: str | None,
        timeout_seconds: float,
        admin: bool = False,
    ) -> bool:
        """Accept a call; False if it had been accepted before."""

    async def look(self, job: JobId, wait_seconds: float = 0.0) -> Job:
        """The job as it is, or as it is when it ends within `wait_seconds`."""

    async def progress(self, row: Job) -> Progress | None:
        """The step that a running job is at."""

    async def cancel(self, job: JobId) -> None:
        """Ask a job to end."""

    def watch(self, job: JobId, waiter: Waiter) -> bool:
        """Wake `waiter` once, when a job of this node ends or goes to another one. False: it is not here."""

    def unwatch(self, job: JobId, waiter: Waiter) -> None:
        """Do not wake it any more. Safe to repeat."""


class Accepted(Struct, frozen=True, kw_only=True):
    """The answer to a call that became a job."""

    uuid: str
    location: str
    state: JobState


class JobView(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A job as the API shows it."""

    uuid: str
    api: str
    state: JobState
    create_date: datetime | None = None
    finish_date: datetime | None = None
    progress: Progress | None = None  #: while it runs
    result: msgspec.Raw | None = None  #: once it has succeeded
    error: Problem | None = None  #: once it has failed


class _WaitQuery(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The query string of a job: how long to wait for it."""

    #: how long to wait for its end, in seconds; 0: not at all
    wait: Annotated[float, Meta(ge=0, le=LONGEST_WAIT_SECONDS)] = 0.0


class Commands:
    """Makes jobs of calls, and shows jobs to those who may see them."""

    def __init__(
        self,
        jobs: JobControl,
        query: QueryEngine,
        references: References,
        authenticator: Authenticator,
        ids: IdSource,
        waiting: Waiting,
        tags: Tags,
        admission: Admission,
        proxies: Proxies,
    ) -> None:
        self._admission = admission
        self._jobs = jobs
        self._query = query
        self._references = references
        self._authenticator = authenticator
        self._ids = ids
        self._waiting = waiting
        self._tags = tags
        self._proxies = proxies
        self._wait_query = Shape(_WaitQuery, "GetJob")

    async def submit(
        self, request: HttpRequest, binding: ApiBinding, message: ApiCommand[object], caller: Caller | None
    ) -> Response | Later:
        """Accept a call.

        Raises:
            CairnError: what a plugin's veto says;
                ``resource.uuid-taken`` (409); ``api.invalid-header`` (400); what the message's own check refuses,
                ``tag.unknown`` and ``tag.bad-value`` (400); ``<noun>.not-found`` (404 or 422); ``job.id-taken`` (409);
                ``job.backlog-full`` (429, with ``Retry-After``); with ``Prefer: wait`` also what the job failed with.
        """
        check_call(message, self._tags, by_admin=caller is None or caller.is_admin)
        job, chosen = self._job_id(request)
        timeout_seconds = _timeout(request, binding)
        wait_seconds = _wait(request)
        if binding.creates and getattr(message, "resource_uuid", None) is None:
            message = msgspec.structs.replace(message, resource_uuid=resource_of(job))
        elif binding.creates:
            await self._references.check_new(message, Scope() if caller is None else caller.scope)
        missing = await self._references.missing(binding, message, Scope() if caller is None else caller.scope)
        if missing and not (chosen and await self._is_repeated(job, binding, caller)):
            if binding.is_delete and all(param.wire in binding.variables for param, _ in missing):
                return Reply(b"{}")  # it is gone, or never was for this caller: nothing is left to do
            raise self._references.not_found(binding, missing)
        if not missing:
            await self._admission.ask(message, None if caller is None else caller.account_uuid)
        fresh = not missing and await self._accept(request, job, message, caller, timeout_seconds)
        if fresh and wait_seconds <= 0:
            return _accepted(job, JobState.WAITING)
        if wait_seconds <= 0:
            return await self._outcome(job, caller, 0.0)
        return Later(job, wait_seconds, partial(self._outcome, job, caller))

    async def _accept(
        self,
        request: HttpRequest,
        job: JobId,
        message: ApiCommand[object],
        caller: Caller | None,
        timeout_seconds: float,
    ) -> bool:
        try:
            with entered(context_of(caller, request.address(self._proxies))):
                return await self._jobs.submit(
                    job,
                    message,
                    actor=None if caller is None else caller.account_uuid,
                    timeout_seconds=timeout_seconds,
                    admin=caller is not None and caller.is_admin,
                )
        except CairnError as error:
            if error.code == BACKLOG_FULL:
                raise _try_later(error) from error
            raise

    async def show(self, request: HttpRequest) -> Response | Later:
        """``GET /v1/api-jobs/{uuid}?wait=30``: how a job stands, or how it ends if that is within `wait` seconds."""
        job, caller = await self._visible(request)
        asked = self._wait_query.of_query(request.query)
        if asked.wait > 0:
            return Later(job, asked.wait, partial(self._shown, job, caller))
        return await self._shown(job, caller, 0.0)

    async def _shown(self, job: JobId, caller: Caller, wait_seconds: float, ended: Job | None = None) -> Response:
        row = ended or await self._look(job, wait_seconds)
        progress = await self._jobs.progress(row) if row.state in OPEN else None
        return json_reply(self._view(row, progress, caller))

    async def cancel(self, request: HttpRequest) -> Response:
        """``DELETE /v1/api-jobs/{uuid}``: ask a job to end, with what it did undone. One that has ended stays."""
        job, caller = await self._visible(request)
        await self._jobs.cancel(job)
        row = await self._jobs.look(job)
        return json_reply(self._view(row, None, caller), 202 if row.state in OPEN else 200)

    def _job_id(self, request: HttpRequest) -> tuple[JobId, bool]:
        """The job's id, and whether the caller chose it."""
        given = request.header(b"x-job-uuid")
        if given is None:
            return JobId(self._ids.new()), False
        if not is_uuid(given):
            raise _bad_header("X-Job-UUID", given, "32 lower-case hex digits would fit")
        return JobId(given), True

    async def _is_repeated(self, job: JobId, binding: ApiBinding, caller: Caller | None) -> bool:
        """Whether the caller's job with this id is an earlier making of the same request."""
        try:
            row = await self._jobs.look(job)
        except CairnError:
            return False
        return row.api == binding.name and row.account_uuid == (None if caller is None else caller.account_uuid)

    async def _outcome(
        self, job: JobId, caller: Caller | None, wait_seconds: float, ended: Job | None = None
    ) -> Response:
        """The job's result if it ends in time; else that it is accepted."""
        row = ended or await self._look(job, wait_seconds)
        if row.state in OPEN or (ended is None and wait_seconds <= 0):
            return _accepted(job, row.state)
        headers = {"Location": f"{JOBS_PATH}/{job}", "Preference-Applied": "wait"}
        if row.error is None:
            return Reply(self._answer(row, caller), headers=headers)
        return problem_reply(
            from_record(row.error), job=job, headers=headers, to_admin=caller is not None and caller.is_admin
        )

    def _view(self, row: Job, progress: Progress | None, caller: Caller) -> JobView:
        return JobView(
            uuid=row.uuid,
            api=row.api,
            state=row.state if progress is None else JobState.RUNNING,
            progress=progress,
            result=msgspec.Raw(self._answer(row, caller)) if row.state is JobState.SUCCEEDED else None,
            error=problem(row.error, job=row.uuid, to_admin=caller.is_admin) if row.error is not None else None,
            create_date=row.create_date,
            finish_date=row.finish_date,
        )

    async def _look(self, job: JobId, wait_seconds: float) -> Job:
        """The job as it is when it ends within `wait_seconds`, or when that time is over, or when this node stops."""
        if wait_seconds > 0:
            with suppress(Stopping):
                return await self._waiting.on(self._jobs.look(job, wait_seconds))
        return await self._jobs.look(job)

    def _answer(self, row: Job, caller: Caller | None) -> bytes:
        return answer_of(self._query, row, Scope(owner="") if caller is None else caller.scope)

    async def _visible(self, request: HttpRequest) -> tuple[JobId, Caller]:
        """The job that the path names, if the caller may see it; others are told at once that there is none."""
        caller = cast("Caller", await admit(request, Access.ACCOUNT, self._authenticator, "GetJob"))
        job = JobId(request.variables[0])
        if not caller.is_admin and (await self._jobs.look(job)).account_uuid != caller.account_uuid:
            raise CairnError(
                "job.not-found",
                f"There is no job {job!r} of yours. Query for the right uuid.",
                kind=ErrorKind.NOT_FOUND,
            )
        return job, caller


def resource_of(job: JobId) -> str:
    """The uuid of the resource that a job makes when its caller names none: the same for the same job, always."""
    digest = hashlib.blake2b(job.encode(), digest_size=16, person=b"cairn-resource").digest()
    bits = int.from_bytes(digest, "big")
    bits = (bits & ~(0xF << 76)) | (4 << 76)
    bits = (bits & ~(0x3 << 62)) | (2 << 62)
    return f"{bits:032x}"


def _accepted(job: JobId, state: JobState) -> Reply:
    location = f"{JOBS_PATH}/{job}"
    return json_reply(Accepted(uuid=job, location=location, state=state), 202, headers={"Location": location})


def _try_later(error: CairnError) -> HttpError:
    later = HttpError(
        error.code, error.message, status=429, kind=error.kind, headers={"Retry-After": str(RETRY_AFTER_SECONDS)}
    )
    later.operator = error.operator
    return later


def _timeout(request: HttpRequest, binding: ApiBinding) -> float:
    given = request.header(b"x-api-timeout")
    if given is None:
        return cast("type[ApiCommand[object]]", binding.cls).default_timeout_seconds
    return seconds_of(given)


def seconds_of(given: str) -> float:
    """The seconds in a header ``X-API-Timeout`` (``api.invalid-header``)."""
    if given.isascii() and given.isdigit() and 1 <= int(given[:9]) <= LONGEST_TIMEOUT_SECONDS:
        return float(given[:9])
    raise _bad_header("X-API-Timeout", given, f"whole seconds from 1 to {LONGEST_TIMEOUT_SECONDS:.0f} would fit")


def _wait(request: HttpRequest) -> float:
    given = request.header(b"prefer")
    found = None if given is None else _WAIT.search(given)
    return 0.0 if found is None else min(float(found[1]), LONGEST_WAIT_SECONDS)


def _bad_header(name: str, found: str, fits: str) -> HttpError:
    return HttpError(
        "api.invalid-header",
        f"{name}: found {found[:80]!r}; {fits}.",
        status=400,
        fields={name: f"found {found[:80]!r}; {fits}"},
    )
