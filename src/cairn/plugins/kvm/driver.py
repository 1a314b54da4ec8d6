"""KVM as a kind of host: the agent by Ansible over SSH, spoken to over TLS."""

from __future__ import annotations

from pathlib import Path

from cairn.kernel.agent.client import AgentEndpoint
from cairn.kernel.config import GlobalConfig, Setting
from cairn.kernel.deploy.installer import AgentInstaller
from cairn.kernel.deploy.ssh import SshTarget
from cairn.kernel.error import not_found
from cairn.kernel.flow.engine import report_progress
from cairn.kernel.store.store import Store, Tx
from cairn.plugins.kvm.model import KvmHost
from cairn.services.host.model import Host

TYPE = "KVM"
AGENT_PORT = Setting("kvm", "agent.port", 7070, minimum=1, maximum=65535, doc="where agents listen on KVM hosts")
_PLAYBOOKS = Path(__file__).parent / "ansible"


class KvmHypervisor:
    """Implements `Hypervisor`."""

    def __init__(self, store: Store, installer: AgentInstaller, settings: GlobalConfig) -> None:
        self._store = store
        self._installer = installer
        self._settings = settings

    def endpoint(self, tx: Tx, host: str) -> AgentEndpoint:
        """The agent at the host's management address."""
        row = tx.get(Host, host)
        if row is None:
            raise not_found("host", "uuid", host)
        return AgentEndpoint(f"https://{row.management_ip}:{self._settings.get(AGENT_PORT)}")

    async def deploy(self, host: str) -> None:
        """Run the playbook; it changes nothing on a machine that is as it should be."""
        target = await self._target(host)

        def progress(task: str, percent: int) -> None:
            report_progress(task, percent / 100)

        settings = {"port": self._settings.get(AGENT_PORT)}
        await self._installer.install(_PLAYBOOKS / "kvm.yml", host, target, settings=settings, on_progress=progress)

    async def remove(self, host: str) -> None:
        """Run the playbook that takes the agent away."""
        await self._installer.remove(_PLAYBOOKS / "remove.yml", host, await self._target(host))

    async def _target(self, host: str) -> SshTarget:
        def fn(tx: Tx) -> tuple[Host | None, KvmHost | None]:
            return tx.get(Host, host), tx.get(KvmHost, host)

        row, kvm = await self._store.read(fn)
        if row is None or kvm is None:
            raise not_found("host", "uuid", host)
        return self._installer.target(
            host, row.management_ip, kvm.ssh_port, kvm.username, kvm.password, kvm.private_key
        )
