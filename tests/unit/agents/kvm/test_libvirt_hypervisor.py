from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from cairn.agents.errors import AgentError
from cairn.agents.protocol import codes
from cairn.agents.protocol.vm import PowerState

VM = "0123456789abcdef0123456789abcdef"


class LibvirtError(Exception):
    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code, self.words = code, words

    def get_error_code(self) -> int:
        return self.code

    def get_error_message(self) -> str:
        return self.words


class Domain:
    def __init__(self, name: str, state: int) -> None:
        self._name, self._state = name, state
        self.error: LibvirtError | None = None
        self.why = 0
        self.errors: dict[str, int] = {}

    def diskErrors(self) -> dict[str, int]:  # noqa: N802 - libvirt's name
        return self.errors

    def name(self) -> str:
        return self._name

    def state(self) -> list[int]:
        return [self._state, self.why]

    def create(self) -> None:
        if self.error is not None:
            raise self.error

    def suspend(self) -> None:
        self._state = sys.modules["libvirt"].VIR_DOMAIN_PAUSED

    def resume(self) -> None:
        self._state = sys.modules["libvirt"].VIR_DOMAIN_RUNNING

    def XMLDesc(self) -> str:  # noqa: N802 - libvirt's name
        disks = "".join(
            f"<disk><source file='/ps/{name}.qcow2'/><target dev='{name}'/></disk>" for name in ("vda", "vdb")
        )
        return f"<domain><devices><graphics type='vnc' port='5907'/>{disks}</devices></domain>"


class Connection:
    def __init__(self, module: FakeLibvirt) -> None:
        self.module = module
        self.alive = True
        self.callback: Callable[..., None] | None = None

    def isAlive(self) -> bool:  # noqa: N802 - libvirt's name
        return self.alive

    def setKeepAlive(self, *_: int) -> None:  # noqa: N802 - libvirt's name
        pass

    def domainEventRegisterAny(self, *arguments: Any) -> None:  # noqa: N802 - libvirt's name
        self.callback = arguments[2]

    def registerCloseCallback(self, *_: object) -> None:  # noqa: N802 - libvirt's name
        pass

    def listAllDomains(self, flags: int = 0) -> list[Domain]:  # noqa: N802 - libvirt's name
        wanted = self.module.VIR_DOMAIN_PAUSED if flags == self.module.VIR_CONNECT_LIST_DOMAINS_PAUSED else None
        return [d for d in self.module.domains.values() if wanted in (None, d.state()[0])]

    def lookupByUUIDString(self, uuid: str) -> Domain:  # noqa: N802 - libvirt's name
        return self.lookupByName(uuid.replace("-", ""))

    def lookupByName(self, name: str) -> Domain:  # noqa: N802 - libvirt's name
        if name not in self.module.domains:
            raise LibvirtError(self.module.VIR_ERR_NO_DOMAIN, "no domain")
        return self.module.domains[name]

    def getLibVersion(self) -> int:  # noqa: N802 - libvirt's name
        return 9_000_002

    def getVersion(self) -> int:  # noqa: N802 - libvirt's name
        return 7_002_022


class FakeLibvirt(ModuleType):
    """As much of libvirt-python as is used; constants are made when they are asked for."""

    def __init__(self) -> None:
        super().__init__("libvirt")
        self.numbers = itertools.count(100)
        self.domains: dict[str, Domain] = {}
        self.connections: list[Connection] = []
        self.running = True
        self.libvirtError = LibvirtError

    def __getattr__(self, name: str) -> Any:
        if name.startswith("VIR_"):
            setattr(self, name, 1 << next(self.numbers))
            return getattr(self, name)
        if name in ("registerErrorHandler", "virEventRegisterDefaultImpl"):
            return lambda *_: None
        if name == "virEventRunDefaultImpl":
            return lambda: threading.Event().wait()
        if name in ("virConnect", "virDomain"):
            return object
        raise AttributeError(name)

    def open(self, _uri: str) -> Connection:
        if not self.running:
            raise LibvirtError(0, "connection refused")
        self.connections.append(Connection(self))
        return self.connections[-1]


@pytest.fixture
def libvirt(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    fake = FakeLibvirt()
    monkeypatch.setitem(sys.modules, "libvirt", fake)
    monkeypatch.delitem(sys.modules, "cairn.agents.kvm.libvirt_hypervisor", raising=False)
    yield fake
    sys.modules.pop("cairn.agents.kvm.libvirt_hypervisor", None)


@pytest.fixture
def hypervisor(libvirt: Any) -> Any:
    from cairn.agents.kvm.libvirt_hypervisor import LibvirtHypervisor

    return LibvirtHypervisor("test:///")


def test_only_domains_named_by_a_uuid_are_cairns(libvirt: Any, hypervisor: Any) -> None:
    libvirt.domains = {
        VM: Domain(VM, libvirt.VIR_DOMAIN_RUNNING),
        "mine": Domain("mine", libvirt.VIR_DOMAIN_RUNNING),
    }
    assert hypervisor.states() == {VM: PowerState.RUNNING}
    assert hypervisor.state("f" * 32) is None
    assert hypervisor.vnc_port(VM) == 5907
    assert hypervisor.versions() == ("9.0.2", "7.2.22")


def test_domain_is_suspended_and_resumed(libvirt: Any, hypervisor: Any) -> None:
    libvirt.domains = {VM: Domain(VM, libvirt.VIR_DOMAIN_RUNNING)}
    hypervisor.suspend(VM)
    assert hypervisor.state(VM) is PowerState.PAUSED
    hypervisor.resume(VM)
    assert hypervisor.state(VM) is PowerState.RUNNING
    libvirt.domains = {}
    with pytest.raises(AgentError) as caught:
        hypervisor.suspend(VM)
    assert caught.value.code == codes.HYPERVISOR


def test_vms_that_wait_for_room_are_found_with_their_full_disks(libvirt: Any, hypervisor: Any) -> None:
    names = [VM, "b" * 32, "c" * 32, "mine", "d" * 32]
    libvirt.domains = {name: Domain(name, libvirt.VIR_DOMAIN_PAUSED) for name in names}
    for name in (VM, "b" * 32, "mine"):
        libvirt.domains[name].why = libvirt.VIR_DOMAIN_PAUSED_IOERROR
        libvirt.domains[name].errors = {"vdb": libvirt.VIR_DOMAIN_DISK_ERROR_NO_SPACE}
    libvirt.domains["b" * 32].errors = {"vda": libvirt.VIR_DOMAIN_DISK_ERROR_UNSPEC}
    libvirt.domains["c" * 32].why = libvirt.VIR_DOMAIN_PAUSED_USER
    libvirt.domains["c" * 32].errors = {"vda": libvirt.VIR_DOMAIN_DISK_ERROR_NO_SPACE}
    assert hypervisor.out_of_space() == {VM: ["/ps/vdb.qcow2"]}


def test_events_are_told_with_their_reason_and_those_of_others_are_not(libvirt: Any, hypervisor: Any) -> None:
    told: list[tuple[str, str]] = []
    hypervisor.watch(lambda vm, reason: told.append((vm, reason)), lambda: None)
    hypervisor.ensure_connected()
    callback = libvirt.connections[0].callback
    for name, event, detail in (
        (VM, libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED),
        (VM, libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_DESTROYED),
        (VM, libvirt.VIR_DOMAIN_EVENT_STARTED, 0),
        (VM, libvirt.VIR_DOMAIN_EVENT_SHUTDOWN, 0),
        ("mine", libvirt.VIR_DOMAIN_EVENT_STARTED, 0),
    ):
        callback(None, Domain(name, 0), event, detail, None)
    assert told == [(VM, "crashed"), (VM, "destroyed"), (VM, "started")]


def test_libvirtd_that_was_restarted_is_connected_to_again_and_listened_to(libvirt: Any, hypervisor: Any) -> None:
    reconnected: list[int] = []
    hypervisor.watch(lambda *_: None, lambda: reconnected.append(1))
    hypervisor.ensure_connected()
    libvirt.connections[0].alive = False
    libvirt.running = False
    with pytest.raises(AgentError) as caught:
        hypervisor.states()
    assert caught.value.code == codes.HYPERVISOR_UNAVAILABLE
    libvirt.running = True
    hypervisor.ensure_connected()
    hypervisor.ensure_connected()
    assert len(libvirt.connections) == 2
    assert libvirt.connections[1].callback is not None
    assert len(reconnected) == 2


@pytest.mark.parametrize(
    ("words", "code"),
    [("cannot set up guest memory 'pc.ram': Cannot allocate memory", codes.NO_MEMORY), ("no", codes.HYPERVISOR)],
)
def test_start_that_libvirt_refuses_has_its_words(libvirt: Any, hypervisor: Any, words: str, code: str) -> None:
    libvirt.domains[VM] = Domain(VM, 0)
    libvirt.domains[VM].error = LibvirtError(1, words)
    with pytest.raises(AgentError) as caught:
        hypervisor.start(VM)
    assert caught.value.code == code
    assert words in caught.value.message
