"""The error of a command that a simulated agent refuses."""

from __future__ import annotations

from cairn.agents.protocol.wire import Failure


class Refused(Exception):
    """The command failed; nothing was changed.

    Args:
        code: one of `cairn.agents.protocol.codes`.
        message: what was found and what to do.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.failure = Failure(code=code, message=message)
