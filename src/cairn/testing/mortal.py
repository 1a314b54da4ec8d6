"""A node that can be killed or stopped at any moment: its life, and what it reaches the world by."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from cairn.agents.protocol.machine import machine_identity
from cairn.kernel.deploy.ansible import Progress
from cairn.kernel.deploy.installer import AgentInstaller, Identified
from cairn.kernel.deploy.inventory import Variable
from cairn.kernel.deploy.ssh import SshTarget
from cairn.kernel.store.driver import Driver
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.seal import Seals
from cairn.kernel.store.store import Store, Tx
from cairn.simulator.world import host_name
from cairn.testing.transport import MemoryTransport

T = TypeVar("T")
ORIGIN = "http://simulator"
_TLS_AGENT = re.compile(r"^https://([^:/]+):\d+/")


def _played(found: re.Match[str]) -> str:
    """Where the simulator plays the machine that is spoken to over TLS."""
    name = found.group(1)
    return f"{ORIGIN}/hosts/{host_name(int(name.rpartition('.')[2])) if name.startswith('10.0.0.') else name}/"


class Killed(BaseException):
    """The node was killed: whatever it still does ends here."""


class Life:
    """Whether a node lives, and whether it is awake."""

    def __init__(self) -> None:
        self.dead = False
        self._awake = asyncio.Event()
        self._awake.set()

    def pause(self) -> None:
        """Hold up all that the node asks of the world, as a stopped process does."""
        self._awake.clear()

    def wake(self) -> None:
        """Let it go on where it stands."""
        self._awake.set()

    async def awake(self) -> None:
        """Return once the node is awake (`Killed`)."""
        self.check()
        if not self._awake.is_set():
            await self._awake.wait()
            self.check()

    def check(self) -> None:
        """End whatever a dead node still does (`Killed`)."""
        if self.dead:
            raise Killed


class Rehearsed(Exception):
    """Ends a transaction that was only a rehearsal."""


def _rehearse(fn: Callable[[Tx], T], tx: Tx) -> T:
    fn(tx)
    raise Rehearsed


class MortalStore(Store):
    """The store as one node sees it: gone when the node is killed, whatever the node does then.

    Args:
        rehearses: each function is run twice, and what it did the first time is taken back, as in a store under load.
    """

    def __init__(self, store: Store, life: Life, *, rehearses: bool = False) -> None:
        self._inner = store
        self._life = life
        self._rehearses = rehearses
        self._on_told: Callable[[], None] = lambda: None

    @property
    def schema(self) -> Schema:
        """As of the store itself."""
        return self._inner.schema

    @property
    def driver(self) -> Driver:
        """As of the store itself."""
        return self._inner.driver

    async def write(self, fn: Callable[[Tx], T], *, own: str | None = None) -> T:
        """As of the store itself, while the node lives."""
        await self._life.awake()
        if self._rehearses:
            with suppress(Exception):
                await self._inner.write(lambda tx: _rehearse(fn, tx))
        tells = False

        def noted(tx: Tx) -> T:
            nonlocal tells
            result = fn(tx)
            tells = tx.tells
            return result

        result = await self._inner.write(noted, own=own)
        if tells:
            self._on_told()
        return result

    async def read(self, fn: Callable[[Tx], T]) -> T:
        """As of the store itself, while the node lives."""
        await self._life.awake()
        return await self._inner.read(fn)

    async def query(self, fn: Callable[[Tx], T], *, asker: str | None, seconds: float) -> T:
        """As of the store itself, while the node lives."""
        await self._life.awake()
        return await self._inner.query(fn, asker=asker, seconds=seconds)

    async def look(self, fn: Callable[[Tx], T]) -> T:
        """As of the store itself, while the node lives."""
        await self._life.awake()
        return await self._inner.look(fn)

    def on_told(self, call: Callable[[], None]) -> None:
        """As of the store itself, but only for what this node writes."""
        self._on_told = call

    def trouble(self) -> str | None:
        """As of the store itself."""
        return self._inner.trouble()

    @property
    def seals(self) -> Seals:
        """As of the store itself."""
        return self._inner.seals

    def content(self) -> bytes:
        """As of the store itself, even if the node is dead."""
        return self._inner.content()

    async def optimize(self) -> None:
        """As of the store itself, while the node lives."""
        self._life.check()
        await self._inner.optimize()

    async def close(self) -> None:
        """The database outlives its nodes."""


class StandInInstaller(AgentInstaller):
    """Machines that have their agents already."""

    def __init__(self) -> None:
        """Nothing to keep."""

    async def target(
        self, uuid: str, host: str, port: int, username: str, password: str | None, private_key: str | None
    ) -> SshTarget:
        """Where it would be reached."""
        return SshTarget(host=host, port=port, username=username, password=password)

    async def identify(self, uuid: str, target: SshTarget, fingerprint: str | None = None) -> Identified:
        """The simulated machine that plays it, with a host key that is as it should be."""
        played = _TLS_AGENT.sub(_played, f"https://{target.host}:1/").removeprefix(f"{ORIGIN}/hosts/").rstrip("/")
        return Identified(identity=machine_identity(played, ""), fingerprint=fingerprint or f"SHA256:{played}")

    async def look_again(self, playbook: Path) -> None:
        """There is nothing to put on machines."""

    def deployment(self, playbook: Path, settings: Mapping[str, Variable]) -> str:
        """Only versions count."""
        return ""

    async def install(
        self,
        playbook: Path,
        uuid: str,
        target: SshTarget,
        *,
        settings: Mapping[str, Variable] | None = None,
        on_progress: Progress | None = None,
    ) -> int:
        """Nothing to change."""
        return 0

    async def adopt(self, uuid: str, target: SshTarget) -> bool:
        """They let the cloud's own key in."""
        return True

    async def remove(self, playbook: Path, uuid: str, target: SshTarget) -> None:
        """Nothing to remove."""

    def forget(self, tx: Tx, uuid: str) -> None:
        """Nothing to forget."""


class MortalTransport:
    """Agents as one node reaches them; ``https://10.0.0.1:7070`` is the first simulated host."""

    def __init__(self, transport: MemoryTransport, life: Life) -> None:
        self._transport = transport
        self._life = life

    async def request(
        self, method: str, url: str, body: bytes | None, timeout_seconds: float, *, machine: str | None = None
    ) -> tuple[int, bytes]:
        """Send, while the node lives, and be answered, if it still does then."""
        await self._life.awake()
        url = _TLS_AGENT.sub(_played, url)
        answer = await self._transport.request(method, url, body, timeout_seconds, machine=machine)
        await self._life.awake()
        return answer

    async def aclose(self) -> None:
        """Nothing is open."""
