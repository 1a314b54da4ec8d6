"""The host service: it answers the messages that need more than their workflow."""

from __future__ import annotations

from cairn.kernel.api import Reference
from cairn.kernel.bus.handlers import handles
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.workflow import workflow
from cairn.kernel.jobs import Jobs
from cairn.kernel.machine.client import MachineClient
from cairn.kernel.machine.model import MachineStatus
from cairn.kernel.resource import changed, existing, gone, taken
from cairn.kernel.store.store import Store, Tx
from cairn.services.host.machine import HostStateEvent, next_state
from cairn.services.host.messages import (
    ChangeHostState,
    DeleteHost,
    HostList,
    HostView,
    ListHosts,
    ReconnectHost,
    UpdateHost,
)
from cairn.services.host.model import Host, HostClaim

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

        def fn(tx: Tx) -> list[Host]:
            rows = [*tx.find(Host, cluster_uuid=message.cluster_uuids), *tx.find(Host, uuid=message.host_uuids)]
            return list({row.uuid: row for row in rows}.values())

        rows = await self._store.read(fn)
        return HostList(hosts=[taken(HostView, row, connected=row.status is MachineStatus.CONNECTED) for row in rows])


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
