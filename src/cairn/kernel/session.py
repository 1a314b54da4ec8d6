"""Callers: the edges (HTTP, other dialects) ask for them, and the service that keeps the sessions answers."""

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
        """The scope of this caller's queries: an admin sees everything, an account its own."""
        return Scope(owner=None if self.is_admin else self.account_uuid)


class Authenticator(Protocol):
    """Knows the sessions. The identity service provides one."""

    async def session(self, session_uuid: str) -> Caller | None:
        """The caller that a session belongs to; None for a session that never was or is over."""
