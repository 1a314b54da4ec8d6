"""Errors to status codes: the only place that does it. Bodies follow RFC 9457 (``application/problem+json``).

`EXHAUSTED` is 409: what is used up is a fact of the cloud's present state, as with a conflict; 507 would tell proxies
and clients that the server has no room for the request itself. The `code` tells the two apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from cairn.kernel.error import CairnError, ErrorKind, ErrorRecord
from cairn.kernel.words import titled

STATUS: Final[Mapping[ErrorKind, int]] = {
    ErrorKind.INVALID: 400,
    ErrorKind.UNAUTHENTICATED: 401,
    ErrorKind.FORBIDDEN: 403,
    ErrorKind.NOT_FOUND: 404,
    ErrorKind.CONFLICT: 409,
    ErrorKind.EXHAUSTED: 409,
    ErrorKind.UNAVAILABLE: 503,
    ErrorKind.TIMEOUT: 504,
    ErrorKind.CANCELLED: 409,
    ErrorKind.INTERNAL: 500,
}


#: a detail of errors about too many calls: seconds until it makes sense to try again
RETRY_AFTER: Final = "retryAfterSeconds"


class HttpError(CairnError):
    """An error with a status of its own: one that only HTTP knows (405, 413, …).

    Args:
        status: the response's status.
        headers: further headers of the response, ``Allow``.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int,
        kind: ErrorKind = ErrorKind.INVALID,
        headers: Mapping[str, str] | None = None,
        fields: dict[str, str] | None = None,
        details: dict[str, str | int | float | bool | list[str] | dict[str, str] | None] | None = None,
    ) -> None:
        super().__init__(code, message, kind=kind, fields=fields, details=details)
        self.status = status
        self.headers = headers or {}


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error as the API shows it. `code` is the contract, `detail` may improve."""

    type: str  #: ``urn:cairn:error:<code>``
    title: str  #: the code in words
    status: int
    detail: str  #: what was asked, what is true, what to do
    code: str
    kind: str  #: who can act: a value of `ErrorKind`
    fields: dict[str, str] = {}  #: field, as the caller spells it -> what was found and what would fit
    details: dict[str, msgspec.Raw | str | int | float | bool | list[str] | dict[str, str] | None] = {}
    cause: Problem | None = None  #: the error behind this one
    operator: str | None = None  #: more, told to administrators only
    job: str | None = None  #: the job that failed with it


def status_of(error: CairnError) -> int:
    """The HTTP status for `error`."""
    if isinstance(error, HttpError):
        return error.status
    return 429 if RETRY_AFTER in error.details else STATUS[error.kind]


def problem(
    record: ErrorRecord, *, status: int | None = None, job: str | None = None, to_admin: bool = False
) -> Problem:
    """The error as the API shows it.

    Args:
        record: the error.
        to_admin: whether an administrator reads it; others get nothing of `ErrorRecord.operator`.
        status: the response's, where it is not the one of the error's kind.
        job: the job that failed with it.
    """
    return Problem(
        type=f"urn:cairn:error:{record.code}",
        title=titled(record.code),
        status=status or STATUS[record.kind],
        detail=record.message,
        code=record.code,
        kind=record.kind.value,
        fields=record.fields,
        details=record.details,
        cause=problem(record.cause, to_admin=to_admin) if record.cause is not None else None,
        operator=record.operator if to_admin else None,
        job=job,
    )
