"""Adding and connecting a host.

A plugin's workflow that adds a kind of its own lists ``host.record``, ``machine.identify``, ``machine.record-identity``,
``machine.deploy``, ``host.connect-new`` and ``host.finish-connect``.
"""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct
from sqlalchemy import func, select

from cairn.agents.protocol.host import Forget, HostFacts
from cairn.kernel.api import ApiChange, ApiCreate
from cairn.kernel.config import GlobalConfig
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.engine import report_progress
from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing, TransactionStep
from cairn.kernel.machine.client import MachineClient
from cairn.kernel.machine.model import AgentSeen
from cairn.kernel.machine.steps import accepts
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.resource import existing, given_of, new
from cairn.kernel.store.record import table_of
from cairn.kernel.store.store import Store, Tx
from cairn.kernel.tag import Tags
from cairn.services.cluster.model import Cluster
from cairn.services.host.capacity import totals
from cairn.services.host.debts import KIND, Debts
from cairn.services.host.extensions import HostConnected
from cairn.services.host.kind import HostKind, note_change
from cairn.services.host.messages import AddHost
from cairn.services.host.model import Host, HostClaim, HostDebt
from cairn.services.host.provided import HostSyncs
from cairn.services.host.service import check_address
from cairn.services.ids import HostId


class RecordHostInput(Struct, frozen=True, kw_only=True):
    """The new host's uuid, and the call that adds it."""

    uuid: str
    asked: AddHost


class RecordHost(TransactionStep[RecordHostInput, Nothing]):
    """Write the new host down, as Connecting."""

    name = "host.record"
    title = "writing the host down"
    undone_last: ClassVar[bool] = True

    def __init__(self, kind: HostKind, tags: Tags) -> None:
        self._kind = kind
        self._tags = tags

    def do(self, tx: Tx, given: RecordHostInput) -> Nothing:
        """Insert it; a second host with that address or a cluster of another kind is refused."""
        asked = given.asked
        cluster = existing(tx, Cluster, asked.cluster_uuid, "clusterUuid")
        found, wanted = cluster.hypervisor_type, asked.hypervisor_type
        if found != wanted:
            raise CairnError(
                "host.wrong-hypervisor",
                f"clusterUuid: the cluster {cluster.name} takes {found} hosts, and this is a {wanted} host. Choose a "
                "cluster of that kind.",
                fields={"clusterUuid": f"found a {found} cluster; a {wanted} one would fit"},
            )
        check_address(tx, asked.management_ip, given.uuid)
        host = new(tx, Host, asked, zone_uuid=cluster.zone_uuid, hypervisor_type=wanted)
        self._kind.add(tx, self._tags, asked, host)
        note_change(tx, cluster.uuid)
        return NOTHING

    def undo(self, tx: Tx, given: RecordHostInput, made: Nothing | None) -> None:
        """Erase the host; one that is gone is success."""
        self._kind.erase(tx, given.uuid)


class ConnectInput(Struct, frozen=True, kw_only=True):
    """The host whose agent is connected to, and the call that does so."""

    uuid: str
    asked: ApiCreate | ApiChange


class ConnectOutput(Struct, frozen=True, kw_only=True):
    """The facts that the agent reported, and what it told of itself."""

    facts: HostFacts
    agent: AgentSeen


class ConnectHost(ActionStep[ConnectInput, ConnectOutput]):
    """Tell the agent which host it is, and let plugins prepare the host."""

    name = "host.connect"
    title = "connecting to the host"
    nothing_to_undo: ClassVar[str | None] = "what is prepared on a host is prepared again at the next connect"

    def __init__(
        self,
        kind: HostKind,
        agents: MachineClient,
        extensions: Extensions,
        store: Store,
        debts: Debts,
        syncs: HostSyncs,
    ) -> None:
        self._kind = kind
        self._agents = agents
        self._extensions = extensions
        self._store = store
        self._debts = debts
        self._syncs = syncs

    async def do(self, given: ConnectInput) -> ConnectOutput:
        """Connect, collect what the machine owes, and prepare the host again if it was prepared before."""
        host = HostId(given.uuid)
        connecting = self._kind.connecting(given.uuid)
        facts, agent = await self._agents.connect(given.uuid, connecting, accept=accepts(given.asked))
        if facts.former:
            await self._store.write(lambda tx: self._debts.take_over(tx, host, facts.former))
        if await self._store.look(lambda tx: tx.count(HostDebt, host_uuid=host)):
            await self._syncs.sync(host, KIND)
        hooks = self._extensions.of(HostConnected)
        for index, hook in enumerate(hooks):
            report_progress("preparing the host", (index + 1) / (len(hooks) + 1))
            await hook.host_connecting(host, facts)
        return ConnectOutput(facts=facts, agent=agent)


class ConnectNewHost(ConnectHost):
    """Connects as `ConnectHost` does, for a host that is being added: its undo has the agent forget the cloud."""

    name = "host.connect-new"
    nothing_to_undo: ClassVar[str | None] = None

    async def undo(self, given: ConnectInput, made: ConnectOutput | None) -> None:
        """Have the agent forget the cloud; one that cannot be reached is left as it is, and the next add connects it again."""
        try:
            await self._agents.call(given.uuid, Forget(), timeout_seconds=30.0)
        except CairnError as error:
            if error.kind is not ErrorKind.UNAVAILABLE:
                raise


class FinishConnectInput(Struct, frozen=True, kw_only=True):
    """The host, and the facts that its agent reported."""

    uuid: str
    facts: HostFacts
    agent: AgentSeen
    deploy_warning: str | None = None


class FinishConnect(TransactionStep[FinishConnectInput, Nothing]):
    """Write facts and capacity down; VMs may be placed from here on."""

    name = "host.finish-connect"
    title = "writing the host's facts down"

    def __init__(self, kind: HostKind, settings: GlobalConfig) -> None:
        self._kind = kind
        self._settings = settings

    def do(self, tx: Tx, given: FinishConnectInput) -> Nothing:
        """Capacity is what the machine has, less what VMs hold by their claims; none is made while these are summed up."""
        facts = given.facts
        existing(tx, Host, given.uuid, lock=True)
        cpu_total, memory_total = totals(self._settings, facts.cpu_num, facts.memory_bytes)
        cpu_used, memory_used = claimed(tx, given.uuid)
        self._kind.connected(
            tx,
            given.uuid,
            given.agent,
            given.deploy_warning,
            **given_of(Host, facts),
            total_cpu_capacity=cpu_total,
            available_cpu_capacity=cpu_total - cpu_used,
            total_memory_capacity=memory_total,
            available_memory_capacity=memory_total - memory_used,
        )
        return NOTHING

    def undo(self, tx: Tx, given: FinishConnectInput, made: Nothing | None) -> None:
        """Mark the host as Disconnected, so that no VM is placed on it."""
        self._kind.failed(tx, given.uuid)


def claimed(tx: Tx, host: str) -> tuple[int, int]:
    """Sum up the virtual CPUs and bytes of memory that VMs hold of a host."""
    table = table_of(HostClaim)
    query = select(func.coalesce(func.sum(table.c.cpu_num), 0), func.coalesce(func.sum(table.c.memory_bytes), 0)).where(
        table.c.host_uuid == host
    )
    rows = tx.rows(query, {})
    return int(str(rows[0][0])), int(str(rows[0][1]))
