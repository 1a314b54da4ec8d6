"""Checks of a call before it is accepted: those that need its own fields and nothing else."""

from __future__ import annotations

from typing import TypeVar

from cairn.kernel.api import ApiCommand, ApiCreate
from cairn.kernel.tag import Tags

R = TypeVar("R")


def check_call(message: ApiCommand[R], tags: Tags) -> None:
    """Refuse a call that can never succeed. After this only claims, hosts and other resources may stand in its way.

    Raises:
        CairnError: of the kind `INVALID`: what the message's own `check` says; ``tag.unknown``, ``tag.bad-value``.
    """
    message.check()
    if isinstance(message, ApiCreate):
        tags.check(message.entity or "", message.system_tags)
