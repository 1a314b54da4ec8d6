"""How commands end without success: an exit code for scripts, a problem for people."""

from __future__ import annotations

from enum import IntEnum

from msgspec import Struct


class Exit(IntEnum):
    """Exit codes, the same for every command."""

    OK = 0
    REFUSED = 1  #: the cloud refused or failed; the error says why
    USAGE = 2  #: the command line itself is wrong; nothing was sent
    UNREACHABLE = 3  #: no node answers, or nobody is logged in
    UNFINISHED = 4  #: a job goes on and is no longer waited for
    INTERRUPTED = 130  #: Ctrl-C


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error as the API shows it (problem+json); errors of the command line itself have the same shape."""

    title: str = ""
    detail: str = ""
    code: str = ""
    status: int = 0
    kind: str = ""
    fields: dict[str, str] = {}
    details: dict[str, object] = {}
    cause: Problem | None = None
    operator: str | None = None
    job: str | None = None


class CliError(Exception):
    """Ends a command.

    Args:
        exit_code: what the process ends with.
        problem: the one that is told.
    """

    def __init__(self, exit_code: Exit, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.exit_code = exit_code
        self.problem = problem


def usage(detail: str, *, code: str = "cli.usage", fields: dict[str, str] | None = None) -> CliError:
    """The command line is wrong; nothing was sent."""
    return CliError(Exit.USAGE, Problem(title="Wrong usage", detail=detail, code=code, fields=fields or {}))


def refused(detail: str, *, code: str, title: str = "Failed") -> CliError:
    """The command cannot be carried out, for the reason in `detail`."""
    return CliError(Exit.REFUSED, Problem(title=title, detail=detail, code=code))


def unreachable(url: str, why: str) -> CliError:
    """No node answers at `url`."""
    detail = (
        f"No management node answers at {url}: {why}. Start one (cairn up, or cairn serve), "
        "or say where it is: --url URL, or CAIRN_URL."
    )
    return CliError(Exit.UNREACHABLE, Problem(title="Not reachable", detail=detail, code="cli.unreachable"))


def not_logged_in(url: str, why: str) -> CliError:
    """The node wants a session, and there is none that it takes."""
    detail = f"{why} Log in: cairn --url {url} login"
    return CliError(Exit.UNREACHABLE, Problem(title="Not logged in", detail=detail, code="cli.not-logged-in"))


def unfinished(job: str, why: str) -> CliError:
    """The job goes on without being waited for."""
    detail = f"{why} The job {job} goes on. Follow it: cairn job {job} --follow. Cancel it: cairn cancel {job}."
    return CliError(Exit.UNFINISHED, Problem(title="Not finished", detail=detail, code="cli.unfinished", job=job))
