"""Adding and changing KVM hosts."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from cairn.kernel.api import Reference
from cairn.kernel.bus.bus import Bus
from cairn.kernel.deploy.installer import AgentInstaller
from cairn.kernel.error import CairnError, not_found
from cairn.kernel.flow.engine import FlowEngine
from cairn.kernel.flow.workflow import Workflow
from cairn.kernel.store.store import Store, Tx
from cairn.kernel.tag import Tags
from cairn.plugins.kvm.driver import TYPE
from cairn.plugins.kvm.messages import AddKVMHost, UpdateKVMHost
from cairn.plugins.kvm.model import KvmHost
from cairn.services.host.messages import UpdateHost


class AddKvmParameters(Struct, frozen=True, kw_only=True):
    """A new KVM host."""

    host_uuid: str
    name: str
    description: str | None
    management_ip: str
    cluster_uuid: str
    hypervisor_type: str
    username: str
    password: str | None
    private_key: str | None
    ssh_port: int
    system_tags: list[str]
    user_tags: list[str]


class AddKvmAnswer(Struct, frozen=True, kw_only=True):
    """Which host it is."""

    host_uuid: str


ADD = Workflow(
    name="kvm.add-host",
    parameters=AddKvmParameters,
    answer=AddKvmAnswer,
    doc="Makes a Linux machine a host: agent by Ansible, then connect.",
)


class KvmService:
    """Answers the messages about KVM hosts; implements `HostRemoval`."""

    def __init__(
        self, bus: Bus, store: Store, flows: Callable[[], FlowEngine], tags: Tags, installer: AgentInstaller
    ) -> None:
        self._bus = bus
        self._store = store
        self._flows = flows
        self._tags = tags
        self._installer = installer
        bus.register(AddKVMHost, self.add)
        bus.register(UpdateKVMHost, self.update)

    async def add(self, message: AddKVMHost) -> Reference:
        """Add a host."""
        self._tags.check("Host", message.system_tags)
        if not message.password and not message.private_key:
            raise CairnError(
                "kvm.no-login",
                "There is no way to log in: give the password or a privateKey of the user on that machine.",
                fields={"password": "found nothing; a password, or a privateKey instead, would fit"},
            )
        assert message.resource_uuid is not None, "the gateway chooses the new host's uuid"
        parameters = AddKvmParameters(
            host_uuid=message.resource_uuid,
            name=message.name,
            description=message.description,
            management_ip=message.management_ip,
            cluster_uuid=message.cluster_uuid,
            hypervisor_type=TYPE,
            username=message.username,
            password=message.password,
            private_key=message.private_key,
            ssh_port=message.ssh_port,
            system_tags=list(message.system_tags),
            user_tags=list(message.user_tags),
        )
        queue = f"host-connect:{parameters.host_uuid}"
        answer = await self._flows().run(ADD, parameters, queue=queue)
        return Reference(uuid=answer.host_uuid)

    async def update(self, message: UpdateKVMHost) -> Reference:
        """Change how to log in, then what every host has. Both may be done twice."""

        def fn(tx: Tx) -> None:
            row = tx.get(KvmHost, message.uuid)
            if row is None:
                raise not_found("host", "uuid", message.uuid)
            given: dict[str, str | int | None] = {
                "username": message.username,
                "password": message.password,
                "private_key": message.private_key,
                "ssh_port": message.ssh_port,
            }
            changed: dict[str, str | int | None] = {name: value for name, value in given.items() if value is not None}
            if "password" in changed and "private_key" not in changed:
                changed["private_key"] = None
            if changed:
                tx.update(KvmHost, row.uuid, **changed)

        await self._store.write(fn)
        rest = UpdateHost(
            uuid=message.uuid,
            name=message.name,
            description=message.description,
            management_ip=message.management_ip,
        )
        return await self._bus.call(rest)

    def why_not_remove(self, tx: Tx, host: str) -> str | None:
        """Nothing of this plugin keeps a host."""
        return None

    def host_removed(self, tx: Tx, host: str) -> None:
        """The login goes with the host."""
        if tx.delete(KvmHost, host):
            tx.after_commit(lambda: self._installer.forget(host))
