"""Checks of a call before it is accepted: those that need its own fields and nothing else."""

from __future__ import annotations

from typing import TypeVar

from cairn.kernel.api import ApiCommand, ApiCreate
from cairn.kernel.tag import Tags

R = TypeVar("R")


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
