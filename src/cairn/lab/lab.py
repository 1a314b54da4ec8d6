"""The lab: a data center of real hosts on one machine, in namespaces.

The running parts are always found on the machine itself, never from a record, so a lab tool that dies in the middle leaves
nothing that the next call would not see, complete, or take away. The record (``lab.json``) only keeps what cannot be
seen: the lab's name, its subnet, and how many hosts it is to have. It is written before anything else is made and
deleted after everything else is gone.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from ipaddress import IPv4Network
from pathlib import Path

import msgspec

from cairn.kernel.error import CairnError, ErrorKind
from cairn.lab import disk, host, network
from cairn.lab import probe as probing
from cairn.lab.layout import (
    DEFAULT_NAME,
    DEFAULT_SUBNET,
    NAMESPACES,
    SSH_PORT,
    HostLayout,
    LabLayout,
    choose_subnet,
    host_number,
)
from cairn.lab.machine import Machine, Process

DEFAULT_DATA_FOLDER = Path("/var/lib/cairn")


class HostState(StrEnum):
    """The state of a host, as the machine shows it."""

    RUNNING = "running"
    KILLED = "killed"  #: off: no process of it runs
    CUT = "cut"  #: it runs, and its cable is pulled


class HostStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One host, and how to reach it."""

    name: str
    address: str
    ssh_port: int
    user: str
    state: HostState


class LabStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The lab, and how to reach its hosts."""

    name: str
    folder: str
    subnet: str
    #: where the hosts reach the machine
    machine_address: str
    key_file: str
    password_file: str
    hosts: list[HostStatus]


class Leftovers(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a lab that are on the machine."""

    processes: list[str]
    mounts: list[str]
    namespaces: list[str]
    links: list[str]
    folders: list[str]

    def __bool__(self) -> bool:
        return any((self.processes, self.mounts, self.namespaces, self.links, self.folders))


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    subnet: str
    hosts: int


class Lab:
    """One lab on this machine.

    Args:
        data_folder: the lab lives in its folder ``lab``.
        name: 1 to 10 lower-case letters and digits. A second lab on the machine takes another name and data folder.
        machine: runs programs and looks around.
    """

    def __init__(
        self, data_folder: Path = DEFAULT_DATA_FOLDER, name: str = DEFAULT_NAME, machine: Machine | None = None
    ) -> None:
        self._data_folder = data_folder.absolute()
        self._name = name
        self._machine = machine or Machine()
        # A wrong name is refused before anything is done with it.
        LabLayout(name, self._folder, DEFAULT_SUBNET)

    def probe(self) -> list[probing.Feature]:
        """Tries all that a lab needs on this machine; changes nothing."""
        return probing.probe(self._machine, self._folder)

    def up(self, hosts: int) -> LabStatus:
        """Makes sure that the lab exists and its hosts run, reachable by SSH. Safe to repeat, even after a crash.

        Args:
            hosts: how many there are to be at least, 1 to 100. Never fewer than there were.

        Raises:
            CairnError: ``lab.impossible`` when the machine lacks something; ``lab.too-many-hosts``;
                ``lab.wrong-folder``; ``lab.no-subnet``; ``lab.no-boot``; ``lab.command-failed``.
        """
        self._any_layout().host(hosts)
        probing.require(self.probe())
        with self._locked():
            layout, count = self._ensure_record(hosts)
            self._ensure_folder(layout)
            network.ensure_switch(self._machine, layout)
            everyone = [layout.host(number) for number in range(1, count + 1)]
            for each in everyone:
                disk.prepare(self._machine, each, self._data_folder)
                self._ensure_running(each)
            for each in everyone:
                host.wait_for_ssh(each)
        return self.status()

    def down(self) -> None:
        """Takes away all of the lab: processes, mounts, namespaces, links, folder. Safe to repeat, even after a crash.

        Raises:
            CairnError: ``lab.command-failed`` or ``lab.timeout`` when something cannot be taken away.
        """
        layout = self._any_layout()
        with self._locked(make=False):
            self._end_processes(layout)
            network.remove_all(self._machine, layout)
            for point in reversed(self._mounts_below(layout.folder)):
                self._machine.run("umount", "--lazy", point)
            self._remove_folder()

    def kill(self, name: str) -> None:
        """Cuts the power of a host: all its processes end at once, its disk stays. Safe to repeat.

        Raises:
            CairnError: ``lab.unknown-host``, ``lab.absent``.
        """
        with self._locked():
            host.power_off(self._machine, self._host(name))

    def cut(self, name: str) -> None:
        """Pulls a host's network cable; the host runs on. Safe to repeat.

        Raises:
            CairnError: ``lab.unknown-host``, ``lab.absent``; ``lab.host-off`` for a host that was killed.
        """
        with self._locked():
            target = self._host(name)
            if host.process_one(self._machine, target) is None:
                raise CairnError(
                    "lab.host-off", f"{target.name} is off; there is nothing to cut.", kind=ErrorKind.CONFLICT
                )
            network.cut_cable(self._machine, target)

    def mend(self, name: str) -> None:
        """Plugs a host's cable in again, and boots the host if it is off; returns when SSH answers. Safe to repeat.

        Raises:
            CairnError: ``lab.unknown-host``, ``lab.absent``, ``lab.no-boot``.
        """
        with self._locked():
            target = self._host(name)
            self._ensure_running(target)
            host.wait_for_ssh(target)

    def status(self) -> LabStatus:
        """The lab as it is now.

        Raises:
            CairnError: ``lab.absent`` when there is none.
        """
        layout, count = self._layout()
        return LabStatus(
            name=layout.name,
            folder=str(layout.folder),
            subnet=str(layout.subnet),
            machine_address=str(layout.machine_address),
            key_file=str(layout.key_file),
            password_file=str(layout.password_file),
            hosts=[self._host_status(layout.host(number)) for number in range(1, count + 1)],
        )

    def hosts(self) -> list[HostStatus]:
        """The hosts as they are now; none when there is no lab."""
        return self.status().hosts if self._record_file.exists() else []

    def exec(
        self, name: str, arguments: Sequence[str], *, input_text: str | None = None, timeout_seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program inside a host without using its network, so it works even on a host that is cut off.

        Args:
            name: the host.
            arguments: the program and its arguments; no shell is involved.
            input_text: its standard input; empty when left out.
            timeout_seconds: it is killed after that time.

        Raises:
            CairnError: ``lab.unknown-host``, ``lab.absent``, ``lab.host-off``, ``lab.timeout``. That the program
                fails is not an error: its exit code is in the result.
        """
        return host.execute(
            self._machine, self._host(name), arguments, input_text=input_text, timeout_seconds=timeout_seconds
        )

    def leftovers(self) -> Leftovers:
        """All parts of a lab of this name and folder: none, unless it is up or was broken off."""
        layout = self._any_layout()
        return Leftovers(
            processes=[f"{process.pid} {' '.join(process.arguments)}" for process in self._processes(layout)],
            mounts=[str(point) for point in self._mounts(layout)],
            namespaces=[name for name in self._machine.namespaces() if layout.owns_namespace(name)],
            links=[link.ifname for link in self._machine.links() if link.ifname == layout.machine_link],
            folders=[str(layout.folder)] if layout.folder.exists() else [],
        )

    @property
    def _folder(self) -> Path:
        return self._data_folder / "lab"

    @property
    def _record_file(self) -> Path:
        return self._folder / "lab.json"

    @contextmanager
    def _locked(self, *, make: bool = True) -> Iterator[None]:
        """One tool at a time changes the lab of a data folder. The lock is on the folder and ends with the process."""
        if make:
            self._data_folder.mkdir(parents=True, exist_ok=True)
        elif not self._data_folder.is_dir():
            yield
            return
        descriptor = os.open(self._data_folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _read_record(self) -> _Record | None:
        try:
            record = msgspec.json.decode(self._record_file.read_bytes(), type=_Record)
        except FileNotFoundError:
            return None
        if record.name != self._name:
            raise CairnError(
                "lab.wrong-folder",
                f"{self._folder} belongs to the lab {record.name!r}, not {self._name!r}. "
                "Give that name (--name), or another data folder (--data-dir).",
                kind=ErrorKind.CONFLICT,
            )
        return record

    def _ensure_record(self, hosts: int) -> tuple[LabLayout, int]:
        old = self._read_record()
        named = self._any_layout()
        if old is None and any(named.owns_namespace(name) for name in self._machine.namespaces()):
            raise CairnError(
                "lab.exists",
                f"There is a lab {self._name!r} on this machine whose folder is not {self._folder}. "
                "Use its data folder (--data-dir), or another name (--name), or take it down: cairn lab down",
                kind=ErrorKind.CONFLICT,
            )
        subnet = (
            IPv4Network(old.subnet)
            if old
            else choose_subnet(self._name, self._machine.networks(without_link=named.machine_link))
        )
        layout = LabLayout(self._name, self._folder, subnet)
        count = layout.host(max(hosts, old.hosts if old else 0)).number
        self._folder.mkdir(mode=0o755, exist_ok=True)
        _write_private(
            self._record_file, msgspec.json.encode(_Record(name=self._name, subnet=str(subnet), hosts=count)).decode()
        )
        return layout, count

    def _ensure_folder(self, layout: LabLayout) -> None:
        if not layout.password_file.exists():
            _write_private(layout.password_file, f"{secrets.token_urlsafe(12)}\n")
        if not layout.key_file.with_suffix(".pub").exists():
            layout.key_file.unlink(missing_ok=True)
            self._machine.run(
                "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"{layout.name}-lab", "-f", layout.key_file
            )
        layout.disks.mkdir(mode=0o700, exist_ok=True)
        if layout.disks not in self._machine.mount_points() and probing.overlay_needs_tmpfs(
            self._machine, layout.disks
        ):
            self._machine.run("mount", "-t", "tmpfs", "-o", "mode=700", f"{layout.name}-lab", layout.disks)

    def _remove_folder(self) -> None:
        """The record goes last: as long as it is there, the folder is known to be a lab's, and all of it may go."""
        if self._record_file.exists():
            for entry in self._folder.iterdir():
                if entry.is_dir():
                    shutil.rmtree(entry)
                elif entry != self._record_file:
                    entry.unlink()
            self._record_file.unlink()
        # The rest of a lab that was broken off before it had a record. Anything else in there is not ours.
        _fresh(self._record_file).unlink(missing_ok=True)
        with suppress(OSError):
            self._folder.rmdir()

    def _ensure_running(self, target: HostLayout) -> None:
        if host.process_one(self._machine, target) is None:
            host.power_off(self._machine, target)
            host.boot(self._machine, target)
        else:
            network.plug_cable(self._machine, target)

    def _layout(self) -> tuple[LabLayout, int]:
        record = self._read_record()
        if record is None:
            raise CairnError(
                "lab.absent",
                f"There is no lab in {self._folder}. Make one: cairn lab up --hosts 2",
                kind=ErrorKind.NOT_FOUND,
            )
        return LabLayout(record.name, self._folder, IPv4Network(record.subnet)), record.hosts

    def _any_layout(self) -> LabLayout:
        """The lab's layout, even if its record is lost: what belongs to a lab is known by its name alone."""
        record = self._read_record()
        return LabLayout(self._name, self._folder, IPv4Network(record.subnet if record else "198.18.0.0/16"))

    def _host(self, name: str) -> HostLayout:
        layout, count = self._layout()
        number = host_number(name)
        if number > count:
            raise CairnError(
                "lab.unknown-host",
                f"This lab has no {name!r}; it has host1 to host{count}.",
                kind=ErrorKind.NOT_FOUND,
            )
        return layout.host(number)

    def _host_status(self, target: HostLayout) -> HostStatus:
        if host.process_one(self._machine, target) is None:
            state = HostState.KILLED
        elif network.is_cut(self._machine, target):
            state = HostState.CUT
        else:
            state = HostState.RUNNING
        return HostStatus(name=target.name, address=str(target.address), ssh_port=SSH_PORT, user="root", state=state)

    def _processes(self, layout: LabLayout) -> list[Process]:
        """The processes of the lab: hosts', their helpers outside, and any other process in one of its namespaces."""
        everything = self._machine.processes()
        marked = [p for p in everything if any(layout.owns_mark(argument) for argument in p.arguments)]
        pid_namespaces = {p.pid_namespace for p in marked if len(p.numbers) > 1}
        named = (n for n in self._machine.namespaces() if layout.owns_namespace(n))
        net_namespaces = {self._machine.namespace_identity(n) for n in named} - {
            None,
            self._machine.own_net_namespace(),
        }
        return [
            p
            for p in everything
            if p in marked or p.pid_namespace in pid_namespaces or p.net_namespace in net_namespaces
        ]

    def _end_processes(self, layout: LabLayout) -> None:
        self._machine.kill(self._processes(layout))

    def _mounts(self, layout: LabLayout) -> list[Path]:
        return [
            point
            for point in self._machine.mount_points()
            if point.is_relative_to(layout.folder) or (point.parent == NAMESPACES and layout.owns_namespace(point.name))
        ]

    def _mounts_below(self, folder: Path) -> list[Path]:
        return [point for point in self._machine.mount_points() if point.is_relative_to(folder)]


def _write_private(path: Path, content: str) -> None:
    """Writes a file that only its owner may read, whole or not at all."""
    fresh = _fresh(path)
    fresh.touch(mode=0o600)
    fresh.write_text(content)
    fresh.replace(path)


def _fresh(path: Path) -> Path:
    return path.with_name(path.name + ".new")
