"""Who calls: what the edges (HTTP, other dialects) need of whoever keeps the sessions."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from cairn.kernel.query.plan import Scope


class Who(Struct, frozen=True):
    """The owner of a live session."""

    account_uuid: str
    is_admin: bool
    session_uuid: str

    @property
    def scope(self) -> Scope:
        """What this caller may see: an admin everything, others what is theirs."""
        return Scope(owner=None if self.is_admin else self.account_uuid)


class Authenticator(Protocol):
    """Knows the sessions. Provided by the identity service, under the name ``identity``."""

    async def session(self, session_uuid: str) -> Who | None:
        """Whose session it is; None when there is none (any more)."""
