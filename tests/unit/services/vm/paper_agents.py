"""Hosts' agents of paper, for tests of single steps."""

from __future__ import annotations

from typing import TypeVar, cast

from cairn.agents.protocol.wire import AgentCommand, Done, Result
from cairn.kernel.error import CairnError
from cairn.services.host.provided import HostAgents

R = TypeVar("R", bound=Result)


class PaperAgents(HostAgents):
    """Notes what is asked of hosts; fails with a code or an error, if it has one."""

    def __init__(self, code: str | CairnError | None = None) -> None:
        self.error = CairnError(code, "The host said no, for the test's sake.") if isinstance(code, str) else code
        self.asked: list[str] = []
        self.idle: list[bool] = []
        self.commands: list[tuple[AgentCommand[Result], float | None]] = []  #: with the seconds that each may take

    async def call(
        self, host: str, command: AgentCommand[R], *, timeout_seconds: float | None = None, idle: bool = False
    ) -> R:
        """Done, whatever it is."""
        self.asked.append(f"{command.name} on {host}")
        self.idle.append(idle)
        self.commands.append((cast("AgentCommand[Result]", command), timeout_seconds))
        if self.error is not None:
            raise self.error
        return cast("R", Done())
