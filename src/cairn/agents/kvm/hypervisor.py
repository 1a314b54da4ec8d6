"""The KVM role's view of a hypervisor. Everything here blocks; callers use threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from cairn.agents.protocol.vm import PowerState, VmSize

#: Called, from a thread of the hypervisor's own, when something happened to a VM: with its uuid, and the reason.
Noticed = Callable[[str, str], None]


class Hypervisor(Protocol):
    """Domains whose name is the uuid (32 hex digits) of a VM of cairn; all others do not exist for it.

    Every method raises `AgentError` ``agent.hypervisor-unavailable`` when the hypervisor cannot be reached, and
    ``agent.hypervisor`` when it refuses.
    """

    def versions(self) -> tuple[str, str]:
        """Find the versions of libvirt and of QEMU."""

    def states(self) -> dict[str, PowerState]:
        """Find all VMs with their states."""

    def sizes(self) -> dict[str, VmSize]:
        """Find what each VM takes of the machine."""

    def state(self, vm: str) -> PowerState | None:
        """Find the state of one VM; None: it has no domain."""

    def define(self, vm: str, xml: str) -> None:
        """Define the domain, in place of a leftover definition."""

    def start(self, vm: str) -> None:
        """Start the defined domain. Also raises ``agent.no-memory``."""

    def press_power_button(self, vm: str) -> None:
        """Ask the guest to shut down. Not running is success."""

    def pull_plug(self, vm: str) -> None:
        """Stop the domain at once. Not running is success."""

    def suspend(self, vm: str) -> None:
        """Stop the running domain's processors."""

    def resume(self, vm: str) -> None:
        """Let the suspended domain run on."""

    def out_of_space(self) -> dict[str, list[str]]:
        """Find the VMs that are paused because a disk of the host is full, each with its files on such disks."""

    def undefine(self, vm: str) -> None:
        """Forget the stopped domain. Nothing there is success."""

    def vnc_port(self, vm: str) -> int | None:
        """Find the port of the running VM's screen on 127.0.0.1."""

    def watch(self, noticed: Noticed, reconnected: Callable[[], None]) -> None:
        """Call `noticed` for each event from now on, and `reconnected` when events may have been missed."""

    def ensure_connected(self) -> None:
        """Connect again if the connection was lost. Called now and then, so that events come again."""
