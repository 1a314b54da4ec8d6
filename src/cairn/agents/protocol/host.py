"""Commands about the machine itself."""

from __future__ import annotations

from typing import ClassVar

from cairn.agents.protocol.wire import AgentCommand, Done, Result


class HostFacts(Result, frozen=True, kw_only=True):
    """The machine as it is: name, system, processors, memory, addresses."""

    hostname: str
    architecture: str  #: ``x86_64``
    os_distribution: str = ""  #: ``debian``
    os_version: str = ""  #: ``12``
    kernel: str = ""
    cpu_model: str = ""
    cpu_num: int = 1  #: logical processors
    cpu_sockets: int = 1
    memory_bytes: int = 0  #: total physical memory
    available_memory_bytes: int = 0
    accelerator: str = "tcg"  #: ``kvm`` only if a guest really ran under it, else ``tcg``
    accelerator_note: str = ""  #: why it is not kvm, in a sentence
    libvirt_version: str = ""
    qemu_version: str = ""
    features: dict[str, bool] = {}  #: kernel features: vlan, vxlan, nftables_bridge, vhost_net, ...
    addresses: list[str] = []  #: IPv4 addresses of the machine
    former: list[
        str
    ] = []  #: uuids of hosts that it was before, and was never told to forget: what they left may be here


class Connect(AgentCommand[HostFacts], frozen=True, kw_only=True):
    """Tell the agent which host it is and where to report to, and ask for facts. Safe to repeat."""

    name: ClassVar[str] = "host.connect"
    answer: ClassVar[type[Result]] = HostFacts

    host: str  #: the host's uuid
    report_url: str | None = None  #: where `Report`s go; None: nowhere


class GetFacts(AgentCommand[HostFacts], frozen=True, kw_only=True):
    """Ask for the facts that `Connect` answers with, changing nothing."""

    name: ClassVar[str] = "host.facts"
    answer: ClassVar[type[Result]] = HostFacts


class Forget(AgentCommand[Done], frozen=True, kw_only=True):
    """The host leaves the cloud: stop reporting, remove cairn's bridges, name spaces and DHCP. VMs must be gone."""

    name: ClassVar[str] = "host.forget"
    answer: ClassVar[type[Result]] = Done
