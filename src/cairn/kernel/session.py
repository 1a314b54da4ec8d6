"""Callers: what the edges (HTTP, other dialects) need of the service that keeps the sessions."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from cairn.kernel.query.plan import Scope


class Caller(Struct, frozen=True):
    """The owner of a live session."""

    account_uuid: str
    is_admin: bool
    session_uuid: str

    @property
    def scope(self) -> Scope:
        """What this caller may see: an admin everything, others what is theirs."""
        return Scope(owner=None if self.is_admin else self.account_uuid)


class Authenticator(Protocol):
    """Knows the sessions. The identity service provides one."""

    async def session(self, session_uuid: str) -> Caller | None:
        """Whose session it is; None when there is none (any more)."""
