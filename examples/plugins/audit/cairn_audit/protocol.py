"""The audit plugin's commands to agents. Agents import this module, so it imports nothing of the management side."""

from __future__ import annotations

from typing import ClassVar

from cairn.agents.protocol.wire import AgentCommand, Done, Result


class Uptime(Result, frozen=True, kw_only=True):
    """How long the machine has been up."""

    seconds: int


class GetUptime(AgentCommand[Uptime], frozen=True, kw_only=True):
    """Tell how long the machine has been up. It changes nothing."""

    name: ClassVar[str] = "audit.get-uptime"
    answer: ClassVar[type[Result]] = Uptime


class PutSeal(AgentCommand[Done], frozen=True, kw_only=True):
    """Keep a number for a VM. The number is there afterwards, whatever was there before."""

    name: ClassVar[str] = "audit.put-seal"
    answer: ClassVar[type[Result]] = Done

    vm: str
    number: str


class TakeSeal(AgentCommand[Done], frozen=True, kw_only=True):
    """Forget the number of a VM. None there is success."""

    name: ClassVar[str] = "audit.take-seal"
    answer: ClassVar[type[Result]] = Done

    vm: str
