"""Checks of a call before it is accepted: those that need its own fields and nothing else."""

from __future__ import annotations

from typing import TypeVar

from cairn.kernel.api import ApiCommand, ApiCreate
from cairn.kernel.guard import Guards
from cairn.kernel.store.store import Store
from cairn.kernel.tag import Tags

R = TypeVar("R")


class Admission:
    """Asks those who may veto a call before it is accepted."""

    def __init__(self, store: Store, guards: Guards) -> None:
        self._store = store
        self._guards = guards

    async def ask(self, message: ApiCommand[R], account: str | None) -> None:
        """Refuse a call that a guard has a veto on. Costs nothing where no guard concerns it. Raises what the guard raises."""
        question = self._guards.question(message, account)
        if question is not None:
            await self._store.look(question)


def check_call(message: ApiCommand[R], tags: Tags, *, by_admin: bool = True) -> None:
    """Refuse a call that can never succeed. After this only claims, hosts and other resources may stand in its way.

    Args:
        message: the call.
        tags: the definitions of system tags.
        by_admin: whether an administrator, or the cloud itself, makes it.

    Raises:
        CairnError: of the kind `INVALID`: what the message's own `check` says; ``tag.unknown``, ``tag.bad-value``. Of the
            kind `FORBIDDEN`: what its `check_for_account` says.
    """
    message.check()
    if not by_admin:
        message.check_for_account()
    if isinstance(message, ApiCreate):
        tags.check(message.entity or "", message.system_tags)
