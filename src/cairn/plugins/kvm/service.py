"""Adding and changing KVM hosts."""

from __future__ import annotations

from cairn.kernel.api import Reference
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.handlers import handles
from cairn.kernel.flow.workflow import workflow
from cairn.kernel.machine.ssh import change_login
from cairn.kernel.resource import taken
from cairn.kernel.store.store import Store
from cairn.plugins.kvm.messages import AddKVMHost, UpdateKVMHost
from cairn.plugins.kvm.model import KvmHost
from cairn.services.host.messages import UpdateHost

ADD = workflow(AddKVMHost, queue="host")


class KvmService:
    """Answers the messages about KVM hosts."""

    def __init__(self, bus: Bus, store: Store) -> None:
        self._bus = bus
        self._store = store

    @handles(UpdateKVMHost)
    async def update(self, message: UpdateKVMHost) -> Reference:
        """Change the login, then the fields that every host has. Both are safe to repeat."""
        await self._store.write(lambda tx: change_login(tx, KvmHost, message))
        return await self._bus.call(taken(UpdateHost, message))
