"""The machine that carries the lab: its programs, processes, links, namespaces and mounts."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

import msgspec

from cairn.kernel.error import CairnError, ErrorKind
from cairn.lab.layout import NAMESPACES

POLL_SECONDS = 0.05
#: Programs started by the lab get this and nothing else, so that hosts do not inherit the caller's environment.
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}


class AddressInfo(msgspec.Struct):
    """One address of a link, as ``ip -json`` shows it."""

    family: str
    local: str = "0.0.0.0"  # noqa: S104 - the value that ip leaves out, not a bind
    prefixlen: int = 32


class Link(msgspec.Struct):
    """One network link, as ``ip -json address`` shows it."""

    ifname: str
    flags: list[str] = []
    addr_info: list[AddressInfo] = []


@dataclass(frozen=True)
class Process:
    """One process of the machine."""

    pid: int
    arguments: tuple[str, ...]
    #: its number in each nested process namespace, the machine's first; (pid,) outside any
    numbers: tuple[int, ...]
    #: identities of the namespaces it is in; empty for a zombie
    pid_namespace: str
    net_namespace: str


class Machine:
    """Runs programs on the machine and reads its state.

    Args:
        proc: where the kernel shows its processes; tests point it at a folder of their own.
    """

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc

    def run(self, *command: str | Path, input_text: str | None = None, timeout_seconds: float = 60) -> str:
        """Runs a program to its end and returns what it printed.

        Raises:
            CairnError: ``lab.command-failed`` with what the program said.
        """
        arguments = [str(part) for part in command]
        try:
            done = self.attempt(arguments, input_text=input_text, timeout_seconds=timeout_seconds)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _failed(arguments, str(error)) from error
        if done.returncode != 0:
            raise _failed(arguments, (done.stderr or done.stdout).strip() or f"exit code {done.returncode}")
        return done.stdout

    def attempt(
        self, command: Sequence[str], *, input_text: str | None = None, timeout_seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program to its end; whether it succeeded is for the caller to see."""
        return subprocess.run(
            list(command),
            input=input_text,
            stdin=subprocess.DEVNULL if input_text is None else None,
            capture_output=True,
            text=True,
            env=ENVIRONMENT,
            timeout=timeout_seconds,
            check=False,
        )

    def detach(self, command: Sequence[str | Path], log: Path) -> None:
        """Starts a program that outlives this one, in a session of its own; what it prints goes to ``log``."""
        with log.open("ab") as output:
            subprocess.run(
                ["setsid", "--fork", *[str(part) for part in command]],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=ENVIRONMENT,
                cwd="/",
                check=True,
            )

    def links(self, namespace: str | None = None) -> list[Link]:
        """The links of the machine, or of a network namespace; none when there is no such namespace."""
        if namespace is not None and not self.has_namespace(namespace):
            return []
        inside = [] if namespace is None else ["-n", namespace]
        return msgspec.json.decode(self.run("ip", "-json", *inside, "address", "show") or "[]", type=list[Link])

    def networks(self, *, without_link: str) -> list[IPv4Network]:
        """The IPv4 networks that the machine is in, those of the named link left out."""
        return [
            IPv4Network(f"{address.local}/{address.prefixlen}", strict=False)
            for link in self.links()
            for address in link.addr_info
            if link.ifname != without_link and address.family == "inet"
        ]

    def namespaces(self) -> list[str]:
        """The names of all network namespaces, even of those whose building or taking down was broken off."""
        return sorted(entry.name for entry in NAMESPACES.iterdir()) if NAMESPACES.is_dir() else []

    def has_namespace(self, name: str) -> bool:
        """Whether there is a working network namespace of that name."""
        return self.namespace_identity(name) is not None

    def namespace_identity(self, name: str) -> str | None:
        """The identity of a named network namespace, as processes show it; None where only a dead name is left."""
        try:
            status = (NAMESPACES / name).stat()
            folder = NAMESPACES.stat()
        except FileNotFoundError:
            return None
        # A name whose namespace was never mounted is an ordinary file of /run.
        return None if status.st_dev == folder.st_dev else f"net:[{status.st_ino}]"

    def own_net_namespace(self) -> str:
        """The identity of the network namespace that this program runs in."""
        return str((self._proc / "self/ns/net").readlink())

    def mount_points(self) -> list[Path]:
        """All mount points, in the order in which they were mounted."""
        lines = (self._proc / "self/mountinfo").read_text().splitlines()
        return [Path(line.split()[4].replace("\\040", " ")) for line in lines]

    def processes(self) -> list[Process]:
        """All processes that are there now."""
        found = []
        for folder in self._proc.iterdir():
            if folder.name.isdecimal():
                # A process may end while it is looked at.
                with suppress(FileNotFoundError, ProcessLookupError):
                    found.append(_read_process(folder))
        return found

    def alive(self, pid: int) -> bool:
        """Whether that process still runs (a zombie does not)."""
        try:
            text = (self._proc / str(pid) / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return False
        return text.rpartition(")")[2].split()[0] not in ("Z", "X")

    def kill(self, processes: Sequence[Process], *, timeout_seconds: float = 10) -> None:
        """Kills processes at once and waits until they are gone. Those that are gone already are fine.

        Raises:
            CairnError: ``lab.timeout`` when one does not die (it hangs in the kernel).
        """
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        pids = [process.pid for process in processes]
        wait_until(
            lambda: not any(self.alive(pid) for pid in pids),
            f"processes {pids} have ended",
            timeout_seconds=timeout_seconds,
        )


def wait_until(
    condition: Callable[[], bool],
    what: str,
    *,
    timeout_seconds: float,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,  # noqa: TID251 - a command line tool without an event loop
) -> None:
    """Looks again and again until ``condition`` holds.

    Args:
        condition: looked at every 50 ms, at least once.
        what: what is being waited for, as a clause for the error's sentence.
        timeout_seconds: after that time it is given up.
        now: the time in seconds, of any origin.
        sleep: waits so many seconds.

    Raises:
        CairnError: ``lab.timeout``.
    """
    deadline = now() + timeout_seconds
    while not condition():
        if now() >= deadline:
            raise CairnError(
                "lab.timeout", f"Waited {timeout_seconds:g} s in vain until {what}.", kind=ErrorKind.TIMEOUT
            )
        sleep(POLL_SECONDS)


def _read_process(folder: Path) -> Process:
    arguments = (folder / "cmdline").read_bytes().split(b"\0")[:-1]
    status = (folder / "status").read_text()
    numbers = next((line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), [folder.name])
    return Process(
        pid=int(folder.name),
        arguments=tuple(argument.decode(errors="replace") for argument in arguments),
        numbers=tuple(int(number) for number in numbers),
        pid_namespace=_namespace(folder / "ns/pid"),
        net_namespace=_namespace(folder / "ns/net"),
    )


def _namespace(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        # The kernel shows no namespaces of zombies, and none of other users' processes.
        return ""


def _failed(arguments: Sequence[str], said: str) -> CairnError:
    return CairnError("lab.command-failed", f"`{' '.join(arguments)}` failed: {said}", kind=ErrorKind.UNAVAILABLE)
