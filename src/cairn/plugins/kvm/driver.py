"""KVM as a kind of host: Ansible installs the agent over SSH, and calls go over TLS."""

from __future__ import annotations

from pathlib import Path

from cairn.kernel.config import Setting
from cairn.kernel.machine.ssh import SshDriver
from cairn.kernel.resource import existing
from cairn.kernel.store.store import Tx
from cairn.plugins.kvm.model import KvmHost
from cairn.services.host.extensions import Hypervisor
from cairn.services.host.model import Host

TYPE = "KVM"
AGENT_PORT = Setting("kvm", "agent.port", 7070, minimum=1, maximum=65535, doc="where agents listen on KVM hosts")


class KvmHypervisor(SshDriver[KvmHost], Hypervisor):
    """The driver of Linux machines that run VMs with libvirt and QEMU."""

    record = KvmHost
    playbook = Path(__file__).parent / "ansible" / "kvm.yml"
    port = AGENT_PORT

    def address(self, tx: Tx, login: KvmHost) -> str:
        """Read the management address from the host's row."""
        return existing(tx, Host, login.uuid).management_ip
