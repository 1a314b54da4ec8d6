"""Calls to the agents of a service's machines, as the service provides them to others."""

from __future__ import annotations

from typing import Protocol, TypeVar

from cairn.agents.protocol.wire import AgentCommand, Result

R = TypeVar("R", bound=Result)
Id = TypeVar("Id", bound=str, contravariant=True)  #: the type of the machines' ids


class MachineAgents(Protocol[Id]):
    """Calls to agents, for services that do not own the machines."""

    async def call(
        self, uuid: Id, command: AgentCommand[R], *, timeout_seconds: float | None = None, idle: bool = False
    ) -> R:
        """Have the machine's agent do something, in the agent's queue (setting ``parallelism``: so many at a time).

        Accounts take turns there, and none has all places.

        Args:
            timeout_seconds: from the moment that its turn has come; None: the setting ``command.timeout``.
            idle: the machine does next to nothing meanwhile, as when a guest shuts down: such calls have a queue of their
                own with ten times as many places, so that they hold up no work.

        Raises:
            CairnError: ``<noun>.not-found``; ``<noun>.disconnected`` at once for a machine that is known to be lost;
                ``<noun>.agent-lacks-command`` for a plugin's that is not there yet; ``agent.unreachable``; or what the agent
                answers.
        """
