"""Takes a change of the authority's root forward, while everything runs.

The root that comes is first told to every node and every agent, then signs, and then the one that was is withdrawn
(`cairn.kernel.deploy.roots`). Nodes look for news each second, agents are told at their pings (`Upkeep`). What is done here:
each node writes down whether it and the machines that it pings have taken part (`RootProgress`), and one node, the one that
the ring names for it, begins what is next when all have. How far the change is stands in the database, so it goes on after a
crash, and with another node. Two nodes that both take themselves for the one do no harm: a step names what it was decided by.

Only machines that are connected are waited for. One that was away while the root changed trusts only what it knew, and does
not answer over TLS any more: when it is connected again its agent is put there anew, over SSH, as for any agent that
does not answer.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import structlog

from cairn.kernel.deploy.authority import Authority
from cairn.kernel.deploy.model import RootProgress
from cairn.kernel.deploy.roots import Phase
from cairn.kernel.ids import NodeId
from cairn.kernel.machine.client import AgentCertificate, MachineClient
from cairn.kernel.machine.machines import Machines
from cairn.kernel.machine.model import Machine, MachineStatus
from cairn.kernel.ring import Ring
from cairn.kernel.store.store import Store, Tx

LOOK_SECONDS: Final = 15.0
#: the key whose owner on the ring takes changes forward
RING_KEY: Final = "loop:authority"
#: what nodes are called where machines are counted by kind
NODES: Final = "management-node"
_log = structlog.get_logger("cairn.authority")


class Rotation:
    """The change of the authority's root, as one node sees it and takes part in it."""

    def __init__(self, authority: Authority, machines: Machines, store: Store, ring: Ring, node: NodeId) -> None:
        self._authority = authority
        self._machines = machines
        self._store = store
        self._ring = ring
        self._node = node

    @property
    def phase(self) -> Phase:
        """How far it is."""
        return self._authority.phase

    async def begin(self) -> None:
        """Begin a change; one that is under way goes on. Safe to repeat, on any node."""
        await self._authority.announce_root()
        _log.info("authority.change", phase=self.phase.value)

    async def behind(self) -> dict[str, int]:
        """How many nodes, and connected machines of each kind, have not taken part yet in what is under way."""
        if self.phase is Phase.SETTLED:
            return await self._own()
        await self._report()
        found: Counter[str] = Counter()
        progress = {row.uuid: row for row in await self._store.read(lambda tx: tx.find(RootProgress))}
        for node in self._ring.alive or {self._node}:
            row = progress.get(node)
            if row is None or (row.issuer, row.trust) != self._wanted():
                found[NODES] += 1  # its machines are not known either
            else:
                found.update(row.behind)
        return dict(found)

    async def look(self) -> None:
        """Write down how far this node is; begin the next part, if that is this node's affair and all have taken part."""
        phase = self.phase
        if phase is Phase.SETTLED:
            return
        if not self._is_mine(RING_KEY):
            await self._report()
            return
        if await self.behind():
            return
        following = self._authority.use_next_root if phase is Phase.ANNOUNCED else self._authority.withdraw_root
        await following()
        _log.info("authority.change", phase=self.phase.value)
        if self.phase is Phase.SETTLED:
            await self._store.write(lambda tx: tx.delete_where(RootProgress))

    def _wanted(self) -> tuple[str, str]:
        return self._authority.issuer, self._authority.trust

    async def _report(self) -> None:
        """Write down how far this node and its machines are."""
        issuer, trust = self._wanted()
        row = RootProgress(uuid=self._node, issuer=issuer, trust=trust, behind=await self._own())

        def fn(tx: Tx) -> None:
            tx.delete(RootProgress, self._node)
            tx.insert(row)

        await self._store.write(fn)

    async def _own(self) -> dict[str, int]:
        """The machines that this node pings and that are behind, by kind."""
        found = {client.kind.noun: await self._behind_of(client) for client in self._machines.clients}
        return {noun: number for noun, number in found.items() if number}

    async def _behind_of(self, client: MachineClient) -> int:
        def connected(tx: Tx) -> list[Machine]:
            return tx.find(client.kind.record, status=MachineStatus.CONNECTED)

        rows = await self._store.read(connected)
        return sum(self._is_mine(row.uuid) and not self._has_taken_part(client.shown.get(row.uuid)) for row in rows)

    def _is_mine(self, key: str) -> bool:
        """Whether the ring gives it to this node: a machine that it pings, or the change itself. Before it has joined all is."""
        return not self._ring.members or self._ring.owns(self._node, key)

    def _has_taken_part(self, shown: AgentCertificate | None) -> bool:
        """Whether an agent shows and trusts what it should. One without TLS does; one that was not heard yet does not."""
        if shown is None:
            return False
        return not shown.ends or (shown.issuer, shown.trust) == self._wanted()
