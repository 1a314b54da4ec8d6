"""One host while it runs: its process 1, how it is booted, and how its power is cut."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress

from cairn.kernel.error import CairnError, ErrorKind
from cairn.lab import disk, network
from cairn.lab.layout import NAMESPACES, SSH_PORT, HostLayout
from cairn.lab.machine import ENVIRONMENT, Machine, Process, wait_until

BOOT_SECONDS = 30


def process_one(machine: Machine, host: HostLayout) -> Process | None:
    """The host's process 1 as the machine sees it; None when the host is off."""
    marked = (process for process in machine.processes() if host.mark in process.arguments)
    return next((process for process in marked if len(process.numbers) > 1 and process.numbers[-1] == 1), None)


def boot(machine: Machine, host: HostLayout) -> None:
    """Lays the host's cable and starts it from its disk; returns before it is up (see `wait_for_ssh`).

    The host must be off and its disk prepared.
    """
    network.lay_cable(machine, host)
    script = host.folder / "boot.sh"
    script.write_text(disk.boot_script())
    machine.detach(
        [
            "nsenter", f"--net={NAMESPACES / host.namespace}",
            "unshare", "--mount", "--propagation", "private", "--uts", "--ipc", "--pid", "--fork", "--kill-child",
            "sh", script, host.mark, host.name, host.folder, *disk.trees(machine),
        ],
        host.log,
    )  # fmt: skip


def wait_for_ssh(host: HostLayout) -> None:
    """Waits until the host's sshd greets the machine.

    Raises:
        CairnError: ``lab.no-boot`` with the end of the host's log.
    """
    try:
        wait_until(lambda: _ssh_greets(host), f"{host.name} answers SSH", timeout_seconds=BOOT_SECONDS)
    except CairnError as error:
        lines = host.log.read_text(errors="replace").splitlines() if host.log.exists() else []
        raise CairnError(
            "lab.no-boot",
            f"{host.name} ({host.address}) did not boot. Its log ends: {' | '.join(lines[-5:]) or '(empty)'}",
            kind=ErrorKind.UNAVAILABLE,
            cause=error,
        ) from error


def power_off(machine: Machine, host: HostLayout) -> None:
    """Ends all processes of the host at once and takes its network away; its disk stays. Safe to repeat."""
    everything = machine.processes()
    marked = [process for process in everything if host.mark in process.arguments]
    # Its own process namespace, not that of the helper outside which holds it open.
    inside = {process.pid_namespace for process in marked if len(process.numbers) > 1}
    machine.kill([process for process in everything if process in marked or process.pid_namespace in inside])
    network.remove_cable(machine, host)


def execute(
    machine: Machine, host: HostLayout, arguments: Sequence[str], *, input_text: str | None, timeout_seconds: float
) -> subprocess.CompletedProcess[str]:
    """Runs a program inside the host, past its network.

    Raises:
        CairnError: ``lab.host-off``; ``lab.timeout`` when the program does not end in time.
    """
    one = process_one(machine, host)
    if one is None:
        raise CairnError(
            "lab.host-off",
            f"{host.name} is off, so nothing can run on it. Boot it: cairn lab mend {host.name}",
            kind=ErrorKind.CONFLICT,
        )
    environment = [f"{name}={value}" for name, value in ENVIRONMENT.items()]
    command = ["nsenter", f"--target={one.pid}", "--mount", "--uts", "--ipc", "--net", "--pid", "env", "-i"]
    try:
        return machine.attempt(
            [*command, *environment, *arguments], input_text=input_text, timeout_seconds=timeout_seconds
        )
    except subprocess.TimeoutExpired as error:
        raise CairnError(
            "lab.timeout",
            f"{arguments[0]!r} on {host.name} did not end within {timeout_seconds:g} s.",
            kind=ErrorKind.TIMEOUT,
        ) from error


def _ssh_greets(host: HostLayout) -> bool:
    with suppress(OSError), socket.create_connection((str(host.address), SSH_PORT), timeout=1) as connection:
        return connection.recv(4) == b"SSH-"
    return False
