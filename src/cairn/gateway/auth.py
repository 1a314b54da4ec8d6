"""Admission: the session in the ``Authorization`` header against the API's `Access`."""

from __future__ import annotations

from typing import Final

from cairn.gateway.http import HttpRequest
from cairn.gateway.problem import HttpError
from cairn.kernel.api import Access
from cairn.kernel.bus.context import CallContext, Origin
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.session import Authenticator, Caller

__all__ = ["Authenticator", "Caller", "admit", "context_of", "over"]

_SCHEMES: Final = ("oauth", "bearer")


async def admit(call: HttpRequest, access: Access, authenticator: Authenticator, what: str) -> Caller | None:
    """The caller, once it is clear that the call is allowed; None for an API that needs no session.

    Args:
        call: the request.
        access: the API's.
        authenticator: knows the sessions.
        what: the API's name, for the sentence.

    Raises:
        CairnError: ``auth.no-session`` (401) without a session, ``auth.expired`` (401) with one that is over,
            ``auth.admin-only`` (403).
    """
    if access is Access.ANYBODY:
        return None
    caller = await authenticator.session(_session(call))
    if caller is None:
        raise over()
    call.from_admin = caller.is_admin
    if access is Access.ADMIN and not caller.is_admin:
        raise CairnError(
            "auth.admin-only", f"{what} is for the admin account. Ask an administrator.", kind=ErrorKind.FORBIDDEN
        )
    return caller


def over() -> HttpError:
    """``auth.expired``: the session has ended, or never was."""
    return _unauthenticated("auth.expired", "The session has expired, was ended, or never was. Log in again.")


def context_of(caller: Caller | None, address: str | None) -> CallContext:
    """The context of work that a request does by itself, and of the job that it becomes."""
    origin = Origin(address=address, session=None if caller is None else caller.session_uuid)
    return CallContext(actor=None if caller is None else caller.account_uuid, origin=origin)


def _session(call: HttpRequest) -> str:
    header = call.header(b"authorization")
    if header:
        scheme, _, session = header.partition(" ")
        session = session.strip()
        if scheme.lower() in _SCHEMES and session:
            return session
        found = f"The Authorization header's scheme is {scheme[:40]!r}"
    else:
        found = "The Authorization header is missing"
    raise _unauthenticated(
        "auth.no-session", f"{found}. Log in, and send the session's uuid as: Authorization: OAuth <uuid>."
    )


def _unauthenticated(code: str, message: str) -> HttpError:
    return HttpError(
        code, message, status=401, kind=ErrorKind.UNAUTHENTICATED, headers={"WWW-Authenticate": 'Bearer realm="cairn"'}
    )
