"""The host service: what people ask of hosts, and what the monitor finds."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from cairn.kernel.api import DeleteMode, Reference
from cairn.kernel.bus.bus import Bus
from cairn.kernel.error import CairnError, ErrorKind, not_found
from cairn.kernel.flow.engine import FlowEngine
from cairn.kernel.flow.step import Nothing
from cairn.kernel.flow.workflow import Workflow
from cairn.kernel.jobs import Jobs
from cairn.kernel.store.store import Store, Tx
from cairn.services.host.directory import HostDirectory
from cairn.services.host.machine import StateEvent, next_state
from cairn.services.host.messages import (
    ChangeHostState,
    DeleteHost,
    HostList,
    HostView,
    ListHosts,
    ReconnectHost,
    UpdateHost,
)
from cairn.services.host.model import Host, HostClaim, HostStatus


class ReconnectParameters(Struct, frozen=True, kw_only=True):
    """Which host."""

    host_uuid: str


class DeleteParameters(Struct, frozen=True, kw_only=True):
    """Which host, and how."""

    host_uuid: str
    delete_mode: DeleteMode


class HostAnswer(Struct, frozen=True, kw_only=True):
    """Which host it was."""

    host_uuid: str


RECONNECT = Workflow(
    name="host.reconnect",
    parameters=ReconnectParameters,
    answer=HostAnswer,
    doc="Puts the agent on a host right, connects to it and reads its facts.",
)
DELETE = Workflow(name="host.delete", parameters=DeleteParameters, answer=Nothing, doc="Takes a host out of the cloud.")


def connect_queue(host: str) -> str:
    """The queue in which a host is connected, changed and deleted; commands have one of their own."""
    return f"host-connect:{host}"


class HostService:
    """Answers the messages about hosts."""

    def __init__(
        self, bus: Bus, store: Store, jobs: Jobs, flows: Callable[[], FlowEngine], directory: HostDirectory
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._flows = flows
        self._directory = directory
        bus.register(UpdateHost, self.update)
        bus.register(ChangeHostState, self.change_state)
        bus.register(ReconnectHost, self.reconnect)
        bus.register(DeleteHost, self.delete)
        bus.register(ListHosts, self.list_hosts)

    async def update(self, message: UpdateHost) -> Reference:
        """Change name, description or address."""

        def fn(tx: Tx) -> Reference:
            host = _existing(tx, message.uuid)
            others = tx.find(Host, management_ip=message.management_ip) if message.management_ip else []
            if any(other.uuid != host.uuid for other in others):
                raise CairnError(
                    "host.address-taken",
                    f"managementIp: {message.management_ip} is the host {others[0].name} already.",
                    kind=ErrorKind.CONFLICT,
                    fields={"managementIp": "an address that no other host has would fit"},
                )
            tx.update(
                Host,
                host.uuid,
                name=message.name or host.name,
                description=host.description if message.description is None else message.description,
                management_ip=message.management_ip or host.management_ip,
                last_op_date=tx.now,
            )
            return Reference(uuid=host.uuid)

        answer = await self._jobs.commit(fn)
        self._directory.forget(message.uuid)
        return answer

    async def change_state(self, message: ChangeHostState) -> Reference:
        """Enable, disable, or take into maintenance."""

        def fn(tx: Tx) -> Reference:
            host = _existing(tx, message.uuid)
            state = next_state(host.state, message.state_event)
            if message.state_event is StateEvent.MAINTAIN:
                claims = tx.count(HostClaim, host_uuid=host.uuid)
                if claims:
                    raise CairnError(
                        "host.in-use",
                        f"The host {host.name} cannot go into maintenance: {claims} VMs run on it. Stop them first.",
                        kind=ErrorKind.CONFLICT,
                    )
            tx.update(Host, host.uuid, state=state, last_op_date=tx.now)
            return Reference(uuid=host.uuid)

        return await self._jobs.commit(fn)

    async def reconnect(self, message: ReconnectHost) -> Reference:
        """Connect again."""
        answer = await self._flows().run(
            RECONNECT, ReconnectParameters(host_uuid=message.uuid), queue=connect_queue(message.uuid)
        )
        return Reference(uuid=answer.host_uuid)

    async def delete(self, message: DeleteHost) -> None:
        """Take it out; one that is gone is success."""

        def gone(tx: Tx) -> Nothing | None:
            return None if tx.get(Host, message.uuid) else Nothing()

        await self._flows().run(
            DELETE,
            DeleteParameters(host_uuid=message.uuid, delete_mode=message.delete_mode),
            queue=connect_queue(message.uuid),
            unless=gone,
        )

    async def list_hosts(self, message: ListHosts) -> HostList:
        """The hosts of some clusters, and some by uuid."""

        def fn(tx: Tx) -> list[Host]:
            rows = [*tx.find(Host, cluster_uuid=message.cluster_uuids), *tx.find(Host, uuid=message.host_uuids)]
            return list({row.uuid: row for row in rows}.values())

        rows = await self._store.read(fn)
        return HostList(
            hosts=[
                HostView(
                    uuid=row.uuid,
                    name=row.name,
                    cluster_uuid=row.cluster_uuid,
                    zone_uuid=row.zone_uuid,
                    management_ip=row.management_ip,
                    connected=row.status is HostStatus.CONNECTED,
                )
                for row in rows
            ]
        )


def _existing(tx: Tx, uuid: str) -> Host:
    host = tx.get(Host, uuid)
    if host is None:
        raise not_found("host", "uuid", uuid)
    return host
