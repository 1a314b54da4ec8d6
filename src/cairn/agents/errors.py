"""Errors of the agents: one exception; its codes are in `protocol.codes`."""

from __future__ import annotations

import errno
from pathlib import Path

from cairn.agents.protocol import codes
from cairn.agents.protocol.wire import Failure


class AgentError(Exception):
    """An expected failure of a command: a code of `protocol.codes`, and a sentence with what was found and what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def failure(self) -> Failure:
        """The error as it crosses the wire."""
        return Failure(code=self.code, message=self.message)


def no_space(path: Path, needed_bytes: int | None, free_bytes: int) -> AgentError:
    """``agent.no-space``: the file system of `path` is full. `needed_bytes` None: not known beforehand."""
    needed = f"at least {needed_bytes} bytes are needed" if needed_bytes is not None else "the file did not fit"
    return AgentError(
        codes.NO_SPACE,
        f"{path}: {needed}, {free_bytes} bytes are free. Delete unused volumes or images there, or enlarge the disk.",
    )


def is_no_space(error: OSError) -> bool:
    """Whether `error` says that a disk or a disk quota is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
