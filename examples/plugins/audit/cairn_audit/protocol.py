"""The audit plugin's command to agents. Agents import this module, so it imports nothing of the management side."""

from __future__ import annotations

from typing import ClassVar

from cairn.agents.protocol.wire import AgentCommand, Result


class Uptime(Result, frozen=True, kw_only=True):
    """How long the machine has been up."""

    seconds: int


class GetUptime(AgentCommand[Uptime], frozen=True, kw_only=True):
    """Tell how long the machine has been up. It changes nothing."""

    name: ClassVar[str] = "audit.get-uptime"
    answer: ClassVar[type[Result]] = Uptime
