"""`Hypervisor` over libvirt-python, the only module that touches it. Imported in the kvm role only.

libvirt wants its event loop registered before the first connection, and run by a thread. One connection serves all
threads; when it is lost (libvirtd restarted) the next call or `ensure_connected` opens another and subscribes to events
again. libvirt does not report what happened in between, so `reconnected` is called to have all VMs looked at.
"""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from xml.etree import ElementTree

import libvirt

from cairn.agents import log
from cairn.agents.errors import AgentError
from cairn.agents.kvm.hypervisor import Noticed
from cairn.agents.protocol import codes
from cairn.agents.protocol.vm import PowerState, VmSize

_VM_NAME = re.compile(r"[0-9a-f]{32}\Z")
_KEEPALIVE_SECONDS = 5

_STATES = {
    libvirt.VIR_DOMAIN_RUNNING: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_SHUTDOWN: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: PowerState.PAUSED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: PowerState.PAUSED,
    libvirt.VIR_DOMAIN_CRASHED: PowerState.CRASHED,
}

_STOPPED_REASONS = {
    libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN: "shutdown",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_DESTROYED: "destroyed",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED: "crashed",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED: "crashed",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_MIGRATED: "migrated",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_SAVED: "saved",
}

#: libvirt reports a shutdown twice; only the end of it (STOPPED) has the cause.
_REASONS = {
    libvirt.VIR_DOMAIN_EVENT_STARTED: "started",
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED: "paused",
    libvirt.VIR_DOMAIN_EVENT_RESUMED: "resumed",
    libvirt.VIR_DOMAIN_EVENT_CRASHED: "crashed",
    libvirt.VIR_DOMAIN_EVENT_UNDEFINED: "undefined",
}

_GONE = (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID)


class LibvirtHypervisor:
    """See `Hypervisor` for the contract of each method."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._lock = threading.Lock()
        self._connection: libvirt.virConnect | None = None
        self._noticed: Noticed | None = None
        self._reconnected: Callable[[], None] | None = None
        libvirt.registerErrorHandler(lambda *_: None, None)
        libvirt.virEventRegisterDefaultImpl()
        threading.Thread(target=_run_events, name="libvirt-events", daemon=True).start()

    def versions(self) -> tuple[str, str]:
        """Ask libvirt for both versions."""
        with self._errors("ask libvirt for its version"):
            connection = self._connect()
            return _version(connection.getLibVersion()), _version(connection.getVersion())

    def states(self) -> dict[str, PowerState]:
        """List the domains that are named like VMs of cairn."""
        with self._errors("list the domains"):
            domains = [d for d in self._connect().listAllDomains() if _VM_NAME.match(d.name())]
        found = {d.name(): self._state(d) for d in domains}
        return {vm: state for vm, state in found.items() if state is not None}

    def sizes(self) -> dict[str, VmSize]:
        """Ask for the memory and processors of the domains that are named like VMs of cairn; one that goes is left out."""
        with self._errors("list the domains"):
            domains = [d for d in self._connect().listAllDomains() if _VM_NAME.match(d.name())]
        found: dict[str, VmSize] = {}
        for domain in domains:
            with self._errors("ask for a domain's size", ignore=(libvirt.VIR_ERR_NO_DOMAIN,)):
                _, kibibytes, _, cpu_num, _ = domain.info()
                found[domain.name()] = VmSize(cpu_num=cpu_num, memory_size=kibibytes * 1024)
        return found

    def state(self, vm: str) -> PowerState | None:
        """Look the domain up by the VM's uuid, and ask for its state."""
        domain = self._find(vm)
        return None if domain is None else self._state(domain)

    def define(self, vm: str, xml: str) -> None:
        """Define the domain, after undefining what there was."""
        self.undefine(vm)
        with self._errors(f"define VM {vm}"):
            self._connect().defineXML(xml)

    def start(self, vm: str) -> None:
        """Start the defined domain; libvirt's lack of memory becomes ``agent.no-memory``."""
        with self._errors(f"start VM {vm}"):
            self._connect().lookupByName(vm).create()

    def press_power_button(self, vm: str) -> None:
        """Press the ACPI power button; a domain that is gone or off is success."""
        domain = self._find(vm)
        if domain is not None:
            with self._errors(f"press the power button of VM {vm}", ignore=_GONE):
                domain.shutdown()

    def pull_plug(self, vm: str) -> None:
        """Destroy the domain; one that is gone or off is success."""
        domain = self._find(vm)
        if domain is not None:
            with self._errors(f"stop VM {vm}", ignore=_GONE):
                domain.destroy()

    def suspend(self, vm: str) -> None:
        """Suspend the domain; its memory stays in the machine's."""
        with self._errors(f"pause VM {vm}"):
            self._connect().lookupByName(vm).suspend()

    def resume(self, vm: str) -> None:
        """Resume the domain from where it was suspended."""
        with self._errors(f"resume VM {vm}"):
            self._connect().lookupByName(vm).resume()

    def out_of_space(self) -> dict[str, list[str]]:
        """Look at the domains that an I/O error paused; libvirt keeps what it was of each disk."""
        with self._errors("list the paused domains"):
            domains = self._connect().listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_PAUSED)
        found = {d.name(): self._full_disks(d) for d in domains if _VM_NAME.match(d.name())}
        return {vm: disks for vm, disks in found.items() if disks}

    def undefine(self, vm: str) -> None:
        """Forget the domain, with everything that libvirt keeps of it."""
        domain = self._find(vm)
        if domain is not None:
            flags = libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
            with self._errors(f"undefine VM {vm}", ignore=(libvirt.VIR_ERR_NO_DOMAIN,)):
                domain.undefineFlags(flags | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA)

    def vnc_port(self, vm: str) -> int | None:
        """Read the port from the running domain's description."""
        domain = self._find(vm)
        if domain is None:
            return None
        with self._errors(f"describe VM {vm}"):
            graphics = ElementTree.fromstring(domain.XMLDesc()).find("devices/graphics[@type='vnc']")  # noqa: S314
        port = int(graphics.get("port", "-1")) if graphics is not None else -1
        return port if port > 0 else None

    def watch(self, noticed: Noticed, reconnected: Callable[[], None]) -> None:
        """Keep both functions; events come in as soon as a connection is made."""
        self._noticed = noticed
        self._reconnected = reconnected

    def ensure_connected(self) -> None:
        """Connect, and subscribe to events, unless the connection is alive."""
        with self._errors("connect"):
            self._connect()

    def _connect(self) -> libvirt.virConnect:
        with self._lock:
            if self._connection is not None and self._connection.isAlive():
                return self._connection
            connection = libvirt.open(self._uri)
            connection.setKeepAlive(_KEEPALIVE_SECONDS, 3)
            connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._lifecycle, None)
            connection.registerCloseCallback(self._closed, None)
            self._connection = connection
        log.info("libvirt.connected", uri=self._uri)
        if self._reconnected is not None:
            self._reconnected()
        return connection

    def _closed(self, _connection: libvirt.virConnect, reason: int, _opaque: None) -> None:
        log.warning("libvirt.connection-lost", reason=reason)

    def _lifecycle(
        self, _connection: libvirt.virConnect, domain: libvirt.virDomain, event: int, detail: int, _opaque: None
    ) -> None:
        vm = domain.name()
        if self._noticed is None or not _VM_NAME.match(vm):
            return
        stopped = event == libvirt.VIR_DOMAIN_EVENT_STOPPED
        reason = _STOPPED_REASONS.get(detail, "stopped") if stopped else _REASONS.get(event)
        if reason is not None:
            self._noticed(vm, reason)

    def _find(self, vm: str) -> libvirt.virDomain | None:
        with self._errors(f"look for VM {vm}", ignore=(libvirt.VIR_ERR_NO_DOMAIN,)):
            return self._connect().lookupByUUIDString(str(uuid.UUID(vm)))
        return None

    def _full_disks(self, domain: libvirt.virDomain) -> list[str]:
        """The files of a domain's disks that found no room; none if it is paused for another reason."""
        with self._errors("ask why a domain is paused", ignore=_GONE):
            if domain.state()[1] != libvirt.VIR_DOMAIN_PAUSED_IOERROR:
                return []
            full = {
                name for name, error in domain.diskErrors().items() if error == libvirt.VIR_DOMAIN_DISK_ERROR_NO_SPACE
            }
            devices = ElementTree.fromstring(domain.XMLDesc()).iterfind("devices/disk")  # noqa: S314
            return [
                source.get("file", "")
                for disk in devices
                if (target := disk.find("target")) is not None and target.get("dev") in full
                if (source := disk.find("source")) is not None
            ]
        return []

    def _state(self, domain: libvirt.virDomain) -> PowerState | None:
        with self._errors("ask for a domain's state", ignore=(libvirt.VIR_ERR_NO_DOMAIN,)):
            state, reason = domain.state()
            if (state, reason) == (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_CRASHED):
                return PowerState.CRASHED  # QEMU died, whether anybody heard of it or not
            return _STATES.get(state, PowerState.STOPPED)
        return None

    @contextmanager
    def _errors(self, attempt: str, ignore: tuple[int, ...] = ()) -> Iterator[None]:
        """Turn libvirt's errors into ours, all but those to ignore."""
        try:
            yield
        except libvirt.libvirtError as error:
            if error.get_error_code() not in ignore:
                raise _translated(attempt, error, alive=self._alive()) from error

    def _alive(self) -> bool:
        try:
            return self._connection is not None and bool(self._connection.isAlive())
        except libvirt.libvirtError:
            return False


def _translated(attempt: str, error: libvirt.libvirtError, *, alive: bool) -> AgentError:
    words = str(error.get_error_message() or error).strip()[-600:]
    if not alive:
        return AgentError(
            codes.HYPERVISOR_UNAVAILABLE,
            f"libvirtd does not answer (to {attempt}): {words}. Start libvirtd on this machine.",
        )
    if "Cannot allocate memory" in words or "cannot set up guest memory" in words:
        return AgentError(
            codes.NO_MEMORY, f"The machine has not enough free memory (to {attempt}): {words}. Stop VMs or add memory."
        )
    return AgentError(codes.HYPERVISOR, f"libvirt refused to {attempt}: {words}. See libvirt's log on this machine.")


def _version(number: int) -> str:
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def _run_events() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()
