"""Errors: one root, few kinds by who can act, a stable code, and a sentence that says what to do.

The code (``vm.wrong-state``) is the contract; the sentence may improve. Only the gateway turns an error into an HTTP
status, by its kind.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec
from msgspec import Struct

from cairn.kernel.blame import plugin_of


class ErrorKind(StrEnum):
    """Who can act on an error, and how."""

    INVALID = "invalid"  #: the caller's input does not fit
    UNAUTHENTICATED = "unauthenticated"  #: the caller has to log in
    FORBIDDEN = "forbidden"  #: the caller may not do this
    NOT_FOUND = "not-found"  #: what the caller names does not exist
    CONFLICT = "conflict"  #: the state of things does not allow it now
    EXHAUSTED = "exhausted"  #: a capacity, quota or limit is used up
    UNAVAILABLE = "unavailable"  #: a part of the cloud cannot be reached now; trying again may help
    TIMEOUT = "timeout"  #: the deadline passed
    CANCELLED = "cancelled"  #: somebody asked for an end
    INTERNAL = "internal"  #: a bug; nobody but cairn's authors can act


class ErrorRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error as data: stored with jobs and journals, sent between nodes, shown by the API."""

    code: str
    kind: ErrorKind
    message: str
    fields: dict[str, str] = {}  #: field (wire name) -> what was found and what would fit
    details: dict[str, msgspec.Raw | str | int | float | bool | list[str] | dict[str, str] | None] = {}
    cause: ErrorRecord | None = None
    operator: str | None = None  #: more, for administrators only

    @property
    def whole(self) -> str:
        """The sentence with the operators' text behind it: for fields, events and logs that only administrators see."""
        return self.message if self.operator is None else f"{self.message} {self.operator}"

    def public(self) -> ErrorRecord:
        """The error without what only administrators may read, in its causes either."""
        if self.operator is None and self.cause is None:
            return self
        cause = None if self.cause is None else self.cause.public()
        return msgspec.structs.replace(self, operator=None, cause=cause)


class CairnError(Exception):
    """An error somebody can read and act on.

    Args:
        code: stable, ``<noun>.<what>``, lower case with dashes.
        message: what was asked, what is true, what to do.
        kind: who can act.
        fields: for wrong input: the field's name on the wire -> what was found and what would fit.
        details: more facts for programs.
        cause: the error behind this one (the outer says what was attempted, the cause why it failed).
        operator: what only an administrator may read: names of hosts, their free memory, addresses, what belongs to
            others. It is logged, and shown by the API to administrators; `message`, `fields` and `details` are for everybody.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        kind: ErrorKind = ErrorKind.INVALID,
        fields: dict[str, str] | None = None,
        details: dict[str, str | int | float | bool | list[str] | dict[str, str] | None] | None = None,
        cause: CairnError | ErrorRecord | None = None,
        operator: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.kind = kind
        self.message = message
        self.fields = fields or {}
        self.details = details or {}
        self.cause = cause.record() if isinstance(cause, CairnError) else cause
        self.operator = operator

    def __str__(self) -> str:
        """All that is known, for logs and administrators: never put into a message."""
        text = _told(self.message, self.code, self.operator)
        cause = self.cause
        return f"{text} Cause: {_told(cause.message, cause.code, cause.operator)}" if cause else text

    @property
    def whole(self) -> str:
        """As `ErrorRecord.whole`."""
        return self.record().whole

    def record(self) -> ErrorRecord:
        """The error as data."""
        return ErrorRecord(
            code=self.code,
            kind=self.kind,
            message=self.message,
            fields=dict(self.fields),
            details={**self.details},
            cause=self.cause,
            operator=self.operator,
        )


def from_record(record: ErrorRecord) -> CairnError:
    """The error that `record` was made of, to be raised again."""
    error = CairnError(
        record.code,
        record.message,
        kind=record.kind,
        fields=dict(record.fields),
        cause=record.cause,
        operator=record.operator,
    )
    error.details = {k: v for k, v in record.details.items() if not isinstance(v, msgspec.Raw)}
    return error


def invalid(code: str, field: str, found: object, fits: str, do: str = "") -> CairnError:
    """Wrong input in one field: what was found, what would fit, what to do."""
    sentence = f"{field}: found {found!r}; {fits}."
    return CairnError(
        code, f"{sentence} {do}".strip(), kind=ErrorKind.INVALID, fields={field: f"found {found!r}; {fits}"}
    )


def not_found(noun: str, field: str, uuid: str, title: str = "") -> CairnError:
    """`field` names something that does not exist (``<noun>.not-found``). `title`: what people call such a thing."""
    title = title or noun.replace("-", " ")
    return CairnError(
        f"{noun}.not-found",
        f"{field}: there is no {title} {uuid!r}. Query for the right uuid; it may have been deleted.",
        kind=ErrorKind.NOT_FOUND,
        fields={field: f"found {uuid!r}; the uuid of a {title} would fit"},
    )


def internal(message: str, error: BaseException) -> CairnError:
    """A bug: an exception nobody expected, as an error that can be answered and stored.

    It is ``plugin.bug``, with the plugin's name, if a plugin's code was at work, else ``internal.bug``.
    """
    plugin = plugin_of(error)
    if plugin is not None:
        return CairnError(
            "plugin.bug",
            f"{message}: an error that nobody foresaw. This is a bug in the plugin {plugin}, or in what it was given; the log "
            "has the trace.",
            kind=ErrorKind.INTERNAL,
            details={"plugin": plugin},
            operator=f"{type(error).__name__}: {error}",
        )
    return CairnError(
        "internal.bug",
        f"{message}: an error that nobody foresaw. This is a bug in cairn; the log has the trace.",
        kind=ErrorKind.INTERNAL,
        operator=f"{type(error).__name__}: {error}",
    )


def _told(message: str, code: str, operator: str | None) -> str:
    return f"{message} [{code}]" if operator is None else f"{message} [{code}] ({operator})"
