"""The simulated agents: requests in, answers out, over a world, without sockets.

The rules of a task are those of a real agent: it is run at most once; repeated, it is answered with the same reply;
work that takes longer than the caller wants to hold the exchange open is answered with 202 and reported by call-back;
a task that is cancelled (`DELETE`) is never done, unless it is done already; one of a lower epoch than the host has heard
for its resource is refused, also if that was heard only while it waited for its delay to pass. A book tells who commanded what.
Without a dial that says otherwise everything is done and answered at once, in one call.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version
from typing import Final, Protocol

import msgspec
from msgspec import Struct

from cairn.agents.protocol import codes
from cairn.agents.protocol.fence import Fence, note, refusal
from cairn.agents.protocol.vm import PowerState
from cairn.agents.protocol.wire import PROTOCOL_VERSION, Failure, Pong, Reply, Report, Request, Result, Space
from cairn.kernel.clock import Clock
from cairn.simulator import commands, storage
from cairn.simulator.dials import Dial, Dials
from cairn.simulator.refusal import Refused
from cairn.simulator.world import SimHost, World, restart_agents

Send = Callable[[str, bytes], Awaitable[None]]
"""How call-backs and reports leave: URL, body. Those that cannot be sent are lost, as they would be in reality."""

_WORKING: Final = b""
_EMPTY: Final = b"{}"
_REMEMBERED: Final = 100_000  #: tasks, for each host
_BOOKED: Final = 50_000  #: commands, of all hosts
_RESOURCES: Final = 1_000  #: whose epochs are remembered, for each host; they are saved with the world

_encoder = msgspec.json.Encoder()
_request_decoder = msgspec.json.Decoder(Request)


class _Success(Struct, frozen=True, kw_only=True):
    """A `Reply` with its result not yet encoded, so that both are encoded in one go."""

    task: str
    result: Result


class Commanded(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """A line of the book: a command that was carried out, or that was refused because of its epoch."""

    time: float  #: seconds since the epoch of time
    host: str  #: the name of the simulated host
    command: str
    task: str
    job: str | None
    fences: tuple[Fence, ...]  #: in whose turn it was given, and by which node
    refused: bool = False

    @property
    def turn(self) -> Fence | None:
        """The narrowest of the fences: that of the run, if it was a step of one."""
        return self.fences[-1] if self.fences else None


class Exchange(Protocol):
    """One request that waits for its answer."""

    def answer(self, status: int, body: bytes) -> None:
        """Send the answer. A second answer is sent too if that is possible, else dropped."""

    def drop(self) -> None:
        """Break the connection without an answer."""


class SimulatedAgents:
    """Answers the agents' protocol for every host of a world.

    Args:
        world: the machines; changed by commands.
        clock: for delays, and for the time in reports.
        send: how call-backs and reports leave; None: they get lost.
        dials: faults; None: a set of its own, seeded by the world.
        more: commands of plugins, from `cairn.simulator.plugins.commands_of`.
    """

    def __init__(
        self,
        world: World,
        clock: Clock,
        send: Send | None = None,
        dials: Dials | None = None,
        more: Mapping[str, commands.Entry] | None = None,
    ) -> None:
        self.world = world
        self._more = more
        self.clock = clock
        self.send = send
        self.dials = dials or Dials(world.seed)
        self.changes = (
            0  #: how many requests may have changed the world, so that the saving loop knows whether to save it
        )
        self._tasks: dict[str, dict[str, bytes]] = {name: {} for name in world.hosts}
        #: who commanded what, in the order in which it was carried out or refused; the last so many
        self.book: deque[Commanded] = deque(maxlen=_BOOKED)
        self._stops: dict[tuple[str, str], Callable[[], None]] = {}  #: by host and task that is being worked on
        self._sending: set[asyncio.Task[None]] = set()
        self.certificate_ends = 0.0  #: when their certificates end, as they say; 0: they have none
        self.version = version("cairn-cloud")  #: that the agents say they are of
        self.protocol = PROTOCOL_VERSION  #: that they say they speak
        self.clock_ahead_seconds = 0.0  #: how far the machines' clocks are ahead

    async def handle(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        """Answer one request to ``/hosts/<name>/v1/…``; for `cairn.testing.transport.MemoryTransport`.

        Raises:
            ConnectionResetError: the host is dead, or the answer got lost.
        """
        exchange = _FutureExchange(asyncio.get_running_loop().create_future())
        self.receive(method, path, body or b"", exchange)
        return await exchange.future

    def receive(self, method: str, path: str, body: bytes, exchange: Exchange) -> None:
        """Take a request to ``/hosts/<name>/v1/…``; it is answered now or later."""
        segments = path.split("/", 3)
        if len(segments) < 4 or segments[1] != "hosts":
            exchange.answer(404, b'{"error":"there is nothing here"}')
            return
        _, _, name, resource = segments
        host = self.world.hosts.get(name)
        if host is None:
            exchange.answer(404, _encoder.encode({"error": f"there is no host {name}"}))
        elif self.dials.dead(name):
            exchange.drop()
        elif resource == "v1/commands" and method == "POST":
            self._command(host, body, exchange)
        elif resource.startswith("v1/tasks/") and method == "GET":
            self._task(host, resource[9:], exchange)
        elif resource.startswith("v1/tasks/") and method == "DELETE":
            self._cancel(host, resource[9:], exchange)
        elif resource == "v1/ping" and method == "GET":
            exchange.answer(200, self._pong(host))
        else:
            exchange.answer(404, _encoder.encode({"error": f"{method} {resource} is not a request that agents answer"}))

    def kill_vm(self, name: str, vm: str) -> bool:
        """Let the VM's process die by itself, which is reported. Returns whether it was running."""
        host = self.world.hosts[name]
        domain = host.vms.get(vm)
        if domain is None or not domain.is_on:
            return False
        host.power_off(vm)
        domain.state = PowerState.CRASHED
        self.changes += 1
        if host.host is not None and host.report_url is not None:
            report = Report(
                host=host.host,
                kind="vm.state",
                vm=vm,
                state=PowerState.CRASHED,
                reason="crashed",
                time=self.clock.now().timestamp(),
            )
            self._post(host.name, host.report_url, _encoder.encode(report))
        return True

    def restart_agent(self, name: str) -> None:
        """Let the host's agent forget its tasks and get a new boot id; the host itself stays as it is."""
        restart_agents(self.world, name)
        self._tasks[name] = {}
        self._stops = {place: stop for place, stop in self._stops.items() if place[0] != name}
        self.changes += 1

    def reset(self, world: World) -> None:
        """Begin again with another world and without dials."""
        self.world = world
        self.dials.clear()
        self._tasks = {name: {} for name in world.hosts}
        self._stops = {}
        self.book.clear()
        self.changes += 1

    # Tasks.

    def _command(self, host: SimHost, body: bytes, exchange: Exchange) -> None:
        try:
            request = _request_decoder.decode(body)
        except msgspec.MsgspecError as error:
            failure = Failure(code=codes.BAD_REQUEST, message=f"The request does not decode: {error}.")
            exchange.answer(400, _encoder.encode(Reply(task="", error=failure)))
            return
        known = self._tasks[host.name].get(request.task)
        if known is not None:
            _tell(known, exchange)
        elif self.dials.turned:
            self._with_dial(host, request, exchange, self.dials.find(host.name, request.command))
        else:
            exchange.answer(200, self._run(host, request))

    def _task(self, host: SimHost, task: str, exchange: Exchange) -> None:
        known = self._tasks[host.name].get(task)
        if known is None:
            exchange.answer(404, _EMPTY)
        else:
            _tell(known, exchange)

    def _cancel(self, host: SimHost, task: str, exchange: Exchange) -> None:
        known = self._tasks[host.name].get(task)
        if known is None:
            self._fail(host, task, codes.CANCELLED, "The caller took it back before it came. Send another task.")
            exchange.answer(404, _EMPTY)
            return
        stop = self._stops.pop((host.name, task), None)
        if stop is not None:
            stop()
        _tell(self._tasks[host.name][task], exchange)

    def _run(self, host: SimHost, request: Request) -> bytes:
        """Carry out the command, and keep the reply for repetitions of its task."""
        stale = self._stale(host, request)
        if stale is not None:
            return stale
        self._enter(host, request)
        try:
            result = commands.apply(self.world, host, request.command, request.body, self._more)
        except Refused as refused:
            return self._remember(host, _encoder.encode(Reply(task=request.task, error=refused.failure)), request.task)
        self.changes += 1
        return self._remember(host, _encoder.encode(_Success(task=request.task, result=result)), request.task)

    def _stale(self, host: SimHost, request: Request) -> bytes | None:
        """The reply to a command of a node that has lost the work to another one; else its epoch is remembered."""
        why = refusal(host.epochs, request.fences)
        if why is None:
            note(host.epochs, request.fences, _RESOURCES)
            return None
        self._enter(host, request, refused=True)
        return self._fail(host, request.task, codes.STALE_EPOCH, why)

    def _enter(self, host: SimHost, request: Request, *, refused: bool = False) -> None:
        self.book.append(
            Commanded(
                time=self.clock.now().timestamp(),
                host=host.name,
                command=request.command,
                task=request.task,
                job=request.job,
                fences=request.fences,
                refused=refused,
            )
        )

    def _fail(self, host: SimHost, task: str, code: str, message: str) -> bytes:
        reply = Reply(task=task, error=Failure(code=code, message=message))
        return self._remember(host, _encoder.encode(reply), task)

    def _remember(self, host: SimHost, reply: bytes, task: str) -> bytes:
        tasks = self._tasks[host.name]
        tasks[task] = reply
        if len(tasks) > _REMEMBERED:
            del tasks[next(iter(tasks))]
        return reply

    # Faults.

    def _with_dial(self, host: SimHost, request: Request, exchange: Exchange, dial: Dial) -> None:
        delay = self.dials.delay(dial)
        if delay <= 0 and not dial.slow:
            self._answer(exchange, self._run_or_fail(host, request, dial), dial)
            return
        stale = self._stale(host, request)
        if stale is not None:
            self._answer(exchange, stale, dial)
            return
        tasks = self._tasks[host.name]
        tasks[request.task] = _WORKING
        late = dial.slow or delay > request.wait_seconds
        if late:
            self.clock.call_later(0.0 if dial.slow else request.wait_seconds, lambda: exchange.answer(202, _EMPTY))

        def finish() -> None:
            if self._tasks[host.name] is not tasks:
                exchange.drop()  # the agent was restarted in the meantime
                return
            del self._stops[host.name, request.task]
            if delay > request.deadline_seconds:
                reply = self._fail(
                    host, request.task, codes.DEADLINE, "The deadline passed. Try again with a longer one."
                )
                self._finish(host, request, exchange, reply, dial, late=late)
            else:
                self._finish(host, request, exchange, self._run_or_fail(host, request, dial), dial, late=late)

        timer = self.clock.call_later(min(delay, request.deadline_seconds), finish)

        def stop() -> None:
            timer.cancel()
            reply = self._fail(host, request.task, codes.CANCELLED, f"The caller cancelled {request.command}.")
            self._finish(host, request, exchange, reply, dial, late=late)

        self._stops[host.name, request.task] = stop

    def _run_or_fail(self, host: SimHost, request: Request, dial: Dial) -> bytes:
        if self.dials.fails(dial):
            return self._fail(host, request.task, dial.error_code, f"A simulated failure of {request.command}.")
        return self._run(host, request)

    def _finish(
        self, host: SimHost, request: Request, exchange: Exchange, reply: bytes, dial: Dial, *, late: bool
    ) -> None:
        if not late:
            self._answer(exchange, reply, dial)
        elif request.callback is not None and not self.dials.loses(dial):
            for _ in range(2 if self.dials.doubles(dial) else 1):
                self._post(host.name, request.callback, reply)

    def _answer(self, exchange: Exchange, reply: bytes, dial: Dial) -> None:
        if self.dials.loses(dial):
            exchange.drop()
            return
        exchange.answer(200, reply)
        if self.dials.doubles(dial):
            exchange.answer(200, reply)

    # Messages that leave by themselves.

    def _post(self, name: str, url: str, body: bytes) -> None:
        if self.send is None or self.dials.dead(name):
            return
        task = asyncio.ensure_future(self.send(url, body))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    def _pong(self, host: SimHost) -> bytes:
        folders: dict[str, Space] = {path: storage.space(host, path) for path in host.storage}
        pong = Pong(
            host=host.host,
            version=self.version,
            protocol=self.protocol,
            boot=host.boot,
            vms={uuid: str(vm.state) for uuid, vm in host.vms.items()},
            folders=folders,
            machine=host.identity,
            certificate_ends=self.certificate_ends,
            time=self.clock.now().timestamp() + self.clock_ahead_seconds,
        )
        return _encoder.encode(pong)


class _FutureExchange:
    def __init__(self, future: asyncio.Future[tuple[int, bytes]]) -> None:
        self.future = future

    def answer(self, status: int, body: bytes) -> None:
        if not self.future.done():
            self.future.set_result((status, body))

    def drop(self) -> None:
        if not self.future.done():
            self.future.set_exception(ConnectionResetError("the simulated agent broke the connection"))


def _tell(known: bytes, exchange: Exchange) -> None:
    if known == _WORKING:
        exchange.answer(202, _EMPTY)
    else:
        exchange.answer(200, known)
