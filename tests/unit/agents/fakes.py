"""Stand-ins for the machine: clock, programs, hypervisor, management node."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from cairn.agents.errors import AgentError
from cairn.agents.kvm.hypervisor import Noticed
from cairn.agents.programs import Completed, failed
from cairn.agents.protocol import codes
from cairn.agents.protocol.vm import PowerState, VmSize


class FakeClock:
    """Stands still until `advance`."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now + seconds, future))
        await future

    async def advance(self, seconds: float) -> None:
        """Let time pass, and everybody who waited for it go on."""
        await settle()
        self.now += seconds
        for when, future in list(self._sleepers):
            if when <= self.now and not future.done():
                future.set_result(None)
        self._sleepers = [(when, future) for when, future in self._sleepers if not future.done()]
        await settle()


class RushingClock(FakeClock):
    """Every sleep is over at once, and time has passed."""

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


async def settle() -> None:
    """Let every task run as far as it can."""
    for _ in range(50):
        await asyncio.sleep(0)


async def until(reached: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    while not reached():  # noqa: ASYNC110 - a thread cannot set an asyncio.Event
        await asyncio.sleep(0)


class FakeRunner:
    """Programs that only say what they were told to say. `answers`: beginning of the command line -> how it ends."""

    def __init__(self, answers: dict[str, Completed] | None = None) -> None:
        self.answers = answers or {}
        self.ran: list[str] = []
        self.stdin: list[str] = []

    async def run(
        self, argv: Sequence[str], *, stdin: str = "", check: bool = True, timeout_seconds: float = 60.0
    ) -> Completed:
        line = " ".join(argv)
        self.ran.append(line)
        self.stdin.append(stdin)
        done = next((a for start, a in self.answers.items() if line.startswith(start)), Completed(0))
        if check and done.returncode:
            raise failed(argv, done)
        return done

    @property
    def batches(self) -> list[str]:
        """All lines given to programs on standard input."""
        return [line for text in self.stdin for line in text.splitlines()]


class FakeHypervisor:
    """Domains in a dictionary."""

    def __init__(self) -> None:
        self.domains: dict[str, PowerState] = {}
        self.xml: dict[str, str] = {}
        self.available = True
        self.deaf = False  #: guests take no notice of the power button
        self.presses = 0
        self.switched: list[str] = []
        self.starved: dict[str, list[str]] = {}  #: VMs that wait for room on a disk
        self.start_error: AgentError | None = None
        self.noticed: Noticed | None = None
        self.reconnected: Callable[[], None] | None = None

    def versions(self) -> tuple[str, str]:
        self._check()
        return "9.0.0", "7.2.0"

    def states(self) -> dict[str, PowerState]:
        self._check()
        return dict(self.domains)

    def sizes(self) -> dict[str, VmSize]:
        self._check()
        return {vm: VmSize(cpu_num=1, memory_size=1 << 27) for vm in self.domains}

    def state(self, vm: str) -> PowerState | None:
        self._check()
        return self.domains.get(vm)

    def define(self, vm: str, xml: str) -> None:
        self._check()
        self.domains[vm] = PowerState.STOPPED
        self.xml[vm] = xml

    def start(self, vm: str) -> None:
        if self.start_error is not None:
            raise self.start_error
        self.domains[vm] = PowerState.RUNNING

    def press_power_button(self, vm: str) -> None:
        self.presses += 1
        if not self.deaf and self.domains.get(vm) is PowerState.RUNNING:
            self.domains[vm] = PowerState.STOPPED

    def pull_plug(self, vm: str) -> None:
        self._check()
        if vm in self.domains:
            self.domains[vm] = PowerState.STOPPED

    def suspend(self, vm: str) -> None:
        self.switched.append(f"suspend {vm}")
        self.domains[vm] = PowerState.PAUSED

    def resume(self, vm: str) -> None:
        self.switched.append(f"resume {vm}")
        self.starved.pop(vm, None)
        self.domains[vm] = PowerState.RUNNING

    def out_of_space(self) -> dict[str, list[str]]:
        self._check()
        return dict(self.starved)

    def undefine(self, vm: str) -> None:
        self.domains.pop(vm, None)

    def vnc_port(self, vm: str) -> int | None:
        return 5900 if self.domains.get(vm) is PowerState.RUNNING else None

    def watch(self, noticed: Noticed, reconnected: Callable[[], None]) -> None:
        self.noticed = noticed
        self.reconnected = reconnected

    def ensure_connected(self) -> None:
        self._check()

    def _check(self) -> None:
        if not self.available:
            raise AgentError(codes.HYPERVISOR_UNAVAILABLE, "libvirtd does not answer.")


class FakePoster:
    """A management node: `statuses` are its next answers (an exception: none), then 200."""

    def __init__(self, *statuses: int | OSError) -> None:
        self.statuses = list(statuses)
        self.posted: list[tuple[str, bytes]] = []

    async def post(self, url: str, body: bytes) -> int:
        self.posted.append((url, body))
        status = self.statuses.pop(0) if self.statuses else 200
        if isinstance(status, OSError):
            raise status
        return status
