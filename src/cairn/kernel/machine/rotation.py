"""Takes a change of the authority's root forward, while everything runs.

The root that comes is first told to every agent, then signs, and then the one that was is withdrawn
(`cairn.kernel.deploy.roots`). Agents are told at their pings (`Upkeep`); this only looks whether all of them have taken
part, and begins what is next. How far it is stands in the authority's folder, so it goes on after a crash.

Only machines that are connected are waited for. One that was away while the root changed trusts only what it knew, and does
not answer over TLS any more: when it is connected again its agent is put there anew, over SSH, as for any agent that
does not answer.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from cairn.kernel.deploy.authority import Authority
from cairn.kernel.deploy.roots import Phase
from cairn.kernel.machine.client import AgentCertificate, MachineClient
from cairn.kernel.machine.machines import Machines
from cairn.kernel.machine.model import Machine, MachineStatus
from cairn.kernel.store.store import Store, Tx

LOOK_SECONDS: Final = 15.0
_log = structlog.get_logger("cairn.authority")


class Rotation:
    """The change of the authority's root."""

    def __init__(self, authority: Authority, machines: Machines, store: Store) -> None:
        self._authority = authority
        self._machines = machines
        self._store = store

    @property
    def phase(self) -> Phase:
        """How far it is."""
        return self._authority.phase

    async def begin(self) -> None:
        """Begin a change; one that is under way goes on. Safe to repeat."""
        await asyncio.to_thread(self._authority.announce_root)
        _log.info("authority.change", phase=self.phase.value)

    async def behind(self) -> dict[str, int]:
        """How many connected machines of each kind have not taken part yet in what is under way."""
        found = {client.kind.noun: await self._behind_of(client) for client in self._machines.clients}
        return {noun: number for noun, number in found.items() if number}

    async def look(self) -> None:
        """Begin the next part of a change, if every connected machine has taken part in the one before."""
        phase = self.phase
        if phase is Phase.SETTLED or await self.behind():
            return
        following = self._authority.use_next_root if phase is Phase.ANNOUNCED else self._authority.withdraw_root
        await asyncio.to_thread(following)
        _log.info("authority.change", phase=self.phase.value)

    async def _behind_of(self, client: MachineClient) -> int:
        def connected(tx: Tx) -> list[Machine]:
            return tx.find(client.kind.record, status=MachineStatus.CONNECTED)

        rows = await self._store.read(connected)
        return sum(not self._has_taken_part(client.shown.get(row.uuid)) for row in rows)

    def _has_taken_part(self, shown: AgentCertificate | None) -> bool:
        """Whether an agent shows and trusts what it should. One without TLS does; one that was not heard yet does not."""
        if shown is None:
            return False
        return not shown.ends or (shown.issuer, shown.trust) == (self._authority.issuer, self._authority.trust)
