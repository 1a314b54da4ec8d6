"""The host service: it answers the messages that need more than their workflow."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, select

from cairn.kernel.api import Reference
from cairn.kernel.bus.handlers import handles
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.workflow import workflow
from cairn.kernel.jobs import Jobs
from cairn.kernel.machine.client import MachineClient
from cairn.kernel.machine.model import MachineStatus
from cairn.kernel.resource import changed, existing, gone
from cairn.kernel.store.record import table_of
from cairn.kernel.store.store import Store, Tx
from cairn.services.host.kind import note_change
from cairn.services.host.machine import HostStateEvent, next_state
from cairn.services.host.messages import (
    ChangeHostState,
    CountHostChanges,
    DeleteHost,
    HostChangeCounts,
    HostList,
    HostView,
    ListHosts,
    ReconnectHost,
    UpdateHost,
)
from cairn.services.host.model import Host, HostChanges, HostClaim
from cairn.services.ids import ClusterId, HostId, ZoneId

_host = table_of(Host)


def _views(by: ColumnElement[Any]) -> Select[Any]:
    """The few columns that others need: a whole row of a host costs ten times as much to read."""
    columns = (_host.c.uuid, _host.c.name, _host.c.cluster_uuid, _host.c.zone_uuid, _host.c.management_ip)
    return select(*columns, _host.c.status, _host.c.agent_boot).where(by == bindparam("is"))


_OF_CLUSTER, _OF_HOST = _views(_host.c.cluster_uuid), _views(_host.c.uuid)

RECONNECT = workflow(ReconnectHost)
DELETE = workflow(DeleteHost, unless=gone(Host))


class HostService:
    """Answers the messages about hosts."""

    def __init__(self, store: Store, jobs: Jobs, agents: MachineClient) -> None:
        self._store = store
        self._jobs = jobs
        self._agents = agents

    @handles(UpdateHost)
    async def update(self, message: UpdateHost) -> Reference:
        """Change name, description or address."""

        def fn(tx: Tx) -> Reference:
            if message.management_ip is not None:
                check_address(tx, message.management_ip, message.uuid)
                note_change(tx, existing(tx, Host, message.uuid).cluster_uuid)
            return changed(tx, Host, message)

        answer = await self._jobs.commit(fn)
        self._agents.forget(message.uuid)
        return answer

    @handles(ChangeHostState)
    async def change_state(self, message: ChangeHostState) -> Reference:
        """Enable, disable, or take into maintenance."""

        def fn(tx: Tx) -> Reference:
            host = existing(tx, Host, message.uuid, lock=True)  # no claim is made while they are counted
            state = next_state(host.state, message.state_event)
            claims = tx.count(HostClaim, host_uuid=host.uuid)
            if claims and message.state_event is HostStateEvent.MAINTAIN:
                raise CairnError(
                    "host.in-use",
                    f"The host {host.name} cannot go into maintenance: {claims} VMs run on it. Stop them first.",
                    kind=ErrorKind.CONFLICT,
                )
            tx.update(Host, host.uuid, state=state, last_op_date=tx.now)
            return Reference(uuid=host.uuid)

        return await self._jobs.commit(fn)

    @handles(ListHosts)
    async def list_hosts(self, message: ListHosts) -> HostList:
        """Find the hosts of some clusters, and some by uuid, each once."""

        def fn(tx: Tx) -> list[tuple[object, ...]]:
            found = [row for cluster in message.cluster_uuids for row in tx.rows(_OF_CLUSTER, {"is": cluster})]
            return found + [row for host in message.host_uuids for row in tx.rows(_OF_HOST, {"is": host})]

        rows = {row[0]: row for row in await self._store.read(fn)}
        return HostList(hosts=[_view(row) for row in rows.values()])

    @handles(CountHostChanges)
    async def count_changes(self, message: CountHostChanges) -> HostChangeCounts:
        """Read one row for each cluster."""
        asked = message.cluster_uuids
        rows = await self._store.look(lambda tx: tx.find(HostChanges, cluster_uuid=asked))
        counted = {row.cluster_uuid: row.number for row in rows}
        return HostChangeCounts(changes={cluster: counted.get(cluster, 0) for cluster in asked})


def _view(row: tuple[object, ...]) -> HostView:
    uuid, name, cluster, zone, address, status, boot = row
    return HostView(
        uuid=HostId(str(uuid)),
        name=str(name),
        cluster_uuid=ClusterId(str(cluster)),
        zone_uuid=ZoneId(str(zone)),
        management_ip=str(address),
        connected=status == MachineStatus.CONNECTED.value,
        is_new=not boot,
    )


def check_address(tx: Tx, address: str, host: str) -> None:
    """Refuse an address that another host has (``host.address-taken``)."""
    for other in tx.find(Host, management_ip=address):
        if other.uuid != host:
            raise CairnError(
                "host.address-taken",
                f"managementIp: {address} is the host {other.name} ({other.uuid}) already. Reconnect that one, or delete "
                "it first.",
                kind=ErrorKind.CONFLICT,
                fields={"managementIp": f"found {address!r}; an address that no other host has would fit"},
            )
