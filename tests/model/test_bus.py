"""Calls between nodes over a network that loses, delays, reorders and repeats, while nodes die and come back.

The model is too simple to be wrong: each call has exactly one end, and is done at most once, however often it was sent.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from random import Random
from typing import ClassVar

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.message import Command
from cairn.kernel.bus.transport import MemoryNetwork
from cairn.kernel.error import CairnError
from cairn.kernel.ids import NodeId, RandomIds
from cairn.kernel.metrics import Metrics
from cairn.kernel.ring import Ring
from cairn.testing.clock import VirtualClock

NAMES = [NodeId(name) for name in ("a", "b", "c")]
TIMEOUT_SECONDS = 2000.0
#: after which nobody waits any more, and nothing is under way
QUIET_SECONDS = 2100.0
#: what a call may end with while nodes come and go
ENDS = {"bus.node-gone", "bus.asker-gone", "bus.deadline-passed", "bus.not-owner", "cancelled", "died"}


class Played(Struct, frozen=True):
    by: str


class PlayNote(Command[Played], frozen=True, kw_only=True, tag="note.play"):
    route: ClassVar[str | None] = "string"
    string: str
    number: int
    seconds: float


class WildNetwork(MemoryNetwork):
    """Each envelope has a fate of its own."""

    def __init__(self, clock: VirtualClock, random: Random, loss: float, copies: int, delay_seconds: float) -> None:
        super().__init__(clock)
        self._random = random
        self._wild = True
        self.silent: NodeId | None = None  #: nothing of it is heard
        self._loss, self._copies, self._delay = loss, copies, delay_seconds

    def calm(self) -> None:
        """From now on nothing goes wrong."""
        self._wild = False
        self.copies, self.delay_seconds = 1, 0.0

    def carry(self, source: NodeId, target: NodeId, envelope: bytes) -> None:
        """Lose it, or bring it some times, some time later."""
        if source == self.silent:
            return
        if self._wild:
            if self._random.random() < self._loss:
                return
            self.copies = self._random.randint(1, self._copies)
            self.delay_seconds = self._random.uniform(0, self._delay)
        super().carry(source, target, envelope)


class Process:
    """One process of a node. It is dead once it is cut off and the ring says so."""

    def __init__(self, world: World, node: NodeId, joined: int, members: list[NodeId]) -> None:
        self.node = node
        self.joined = joined
        self.ring = Ring(64)
        self.ring.set_members(members, joined)
        self.world = world
        self.bus = Bus(
            node,
            self.ring,
            world.network.transport(node),
            world.clock,
            Metrics(),
            RandomIds(seed=1000 + joined),
            incarnation=lambda: joined,
        )
        self.bus.register(PlayNote, self._play)

    async def _play(self, message: PlayNote) -> Played:
        self.world.begun[message.number] += 1
        await self.world.clock.sleep(message.seconds)
        self.world.done[message.number] += 1
        return Played(by=self.node)


class World:
    """Three nodes and what was asked of them."""

    def __init__(self, seed: int, loss: float, copies: int, delay_seconds: float) -> None:
        self.clock = VirtualClock()
        self.network = WildNetwork(self.clock, Random(seed), loss, copies, delay_seconds)
        self.begun: Counter[int] = Counter()
        self.done: Counter[int] = Counter()
        self.epoch = 3
        self.processes = {node: Process(self, node, number, NAMES) for number, node in enumerate(NAMES, start=1)}
        for process in self.processes.values():
            process.ring.set_members(NAMES, self.epoch)
        self.calls: dict[int, tuple[Process, asyncio.Task[Played]]] = {}
        self.died: set[int] = set()

    async def start(self) -> None:
        for process in self.processes.values():
            await process.bus.start()

    def call(self, node: NodeId, string: str, seconds: float) -> None:
        """Ask the owner of `string` for a note."""
        process, number = self.processes[node], len(self.calls)
        message = PlayNote(string=string, number=number, seconds=seconds)
        work = process.bus.call(message, timeout_seconds=TIMEOUT_SECONDS)
        self.calls[number] = (process, asyncio.create_task(work))

    def cancel(self, number: int) -> None:
        """Have the caller lose its interest."""
        if self.calls:
            self.calls[number % len(self.calls)][1].cancel()

    async def restart(self, node: NodeId, *, told_after: float) -> None:
        """Kill a node and start it again at once; the others are told a while later."""
        old = self.processes[node]
        self.died.update(number for number, (process, call) in self.calls.items() if process is old and not call.done())
        self.network.silent = node
        await old.bus.stop()  # its last words are not heard
        self.network.silent = None
        self.epoch += 1
        new = self.processes[node] = Process(self, node, self.epoch, NAMES)
        await new.bus.start()
        others = [process for process in self.processes.values() if process is not new]
        for process in others:
            self.clock.call_later(told_after, partial(_tell, process, self.epoch, node))

    def end_of(self, number: int) -> str:
        """How a call ended: ``ok`` or a code."""
        _, call = self.calls[number]
        if call.cancelled():
            return "cancelled"
        error = call.exception()
        if error is None:
            return "ok"
        if number in self.died:
            return "died"
        assert isinstance(error, CairnError), error
        return error.code

    async def close(self) -> None:
        for process in self.processes.values():
            await process.bus.stop()


def _tell(process: Process, epoch: int, node: NodeId) -> None:
    if epoch > process.ring.epoch:
        process.ring.set_members(NAMES, epoch, restarted=[node])


NODE = st.sampled_from(NAMES)
CALL = st.tuples(st.just("call"), NODE, st.sampled_from("pqrstuvwxyz"), st.sampled_from([0.0, 0.5, 5.0, 30.0]))
CANCEL = st.tuples(st.just("cancel"), st.integers(0, 50))
WAIT = st.tuples(st.just("wait"), st.sampled_from([0.0, 0.1, 1.0, 3.0, 20.0]))
RESTART = st.tuples(st.just("restart"), NODE, st.sampled_from([0.0, 1.0, 5.0]))
LOSS = {
    "loss": st.sampled_from([0.0, 0.1, 0.5]),
    "copies": st.integers(1, 3),
    "delay": st.sampled_from([0.0, 0.1, 3.0]),
}


async def play(world: World, script: list[tuple[object, ...]]) -> None:
    """Do what the script says, and wait until everything has ended."""
    await world.start()
    for line in script:
        match line:
            case ("call", str() as node, str() as string, float() as seconds):
                world.call(NodeId(node), string, seconds)
            case ("cancel", int() as number):
                world.cancel(number)
            case ("wait", float() as seconds):
                await world.clock.advance(seconds)
            case ("restart", str() as node, float() as seconds):
                await world.restart(NodeId(node), told_after=seconds)
        await world.clock.settle()
    world.network.calm()
    await world.clock.advance(QUIET_SECONDS)
    await world.close()


@given(st.integers(0, 1 << 30), st.fixed_dictionaries(LOSS), st.lists(st.one_of(CALL, CALL, WAIT, CANCEL), max_size=40))
@settings(max_examples=60)
async def test_each_call_is_done_once_and_answered_over_a_bad_network(
    seed: int, wild: dict[str, float], script: list[tuple[object, ...]]
) -> None:
    world = World(seed, wild["loss"], int(wild["copies"]), wild["delay"])
    await play(world, script)
    for number, (_, call) in world.calls.items():
        assert call.done()
        end = world.end_of(number)
        assert end in {"ok", "cancelled"}, end
        assert world.begun[number] <= 1
        if end == "ok":
            assert world.done[number] == 1


@given(
    st.integers(0, 1 << 30),
    st.fixed_dictionaries(LOSS),
    st.lists(st.one_of(CALL, CALL, CALL, WAIT, CANCEL, RESTART), max_size=40),
)
@settings(max_examples=60)
async def test_no_call_is_done_twice_or_left_open_when_nodes_die(
    seed: int, wild: dict[str, float], script: list[tuple[object, ...]]
) -> None:
    world = World(seed, wild["loss"], int(wild["copies"]), wild["delay"])
    await play(world, script)
    for number, (_, call) in world.calls.items():
        assert call.done()
        end = world.end_of(number)
        assert end == "ok" or end in ENDS, end
        assert world.begun[number] <= 1
        if end == "ok":
            assert world.done[number] == 1
