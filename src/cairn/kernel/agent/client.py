"""Typed calls to agents that end in exactly one result or error, whatever happens to the answer on its way.

A command goes out under a task id. The ordinary case is one exchange: 200, with the reply. Everything else leads to
the same question, "what became of the task?":

* 202: the agent is still working. It calls back (`AgentClient.deliver`), and in case the call-back gets lost, it is asked
  every few seconds.
* No answer (broken connection, time-out of the exchange): it may or may not have begun, so it is asked.
* 404: it has never heard of the task, or has forgotten it in a restart. The same task is sent again; this is right
  because a task is run at most once while the agent lives, and commands may be repeated after that.

An agent that cannot be reached at all is given up after `unreachable_seconds`, long before the deadline of a long call.

A call that ends without knowing how the task ended (its caller was cancelled, its deadline passed, the agent was lost)
first takes the task back, and waits a while for the agent's word that nothing of it goes on. So what the caller does
next, as a rule undoing the work, does not race with the work itself. From an agent that cannot be reached there is no
such word; it gives the work up by itself at the deadline that came with the request.
"""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import Final, Protocol, TypeVar, cast

import msgspec
from msgspec import Struct

from cairn.agents.protocol import codes
from cairn.agents.protocol.fence import Fence
from cairn.agents.protocol.wire import AgentCommand, Failure, Pong, Reply, Request, Result
from cairn.kernel.agent.http import AgentTransport, TransportError
from cairn.kernel.clock import Clock
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.ids import IdSource

R = TypeVar("R", bound=Result)

UNREACHABLE: Final = "agent.unreachable"
TIMEOUT: Final = "agent.timeout"
BAD_ANSWER: Final = "agent.bad-answer"

_LOST_SECONDS: Final = 2.0  #: an agent that has not answered for long is not waited for much longer

_BASE_URL = re.compile(r"https?://[!-~]+[^/ ]")

_KINDS: Final = {
    codes.NO_SPACE: ErrorKind.EXHAUSTED,
    codes.NOT_AN_IMAGE: ErrorKind.INVALID,
    codes.WRONG_FORMAT: ErrorKind.INVALID,
    codes.IMAGE_TOO_LARGE: ErrorKind.INVALID,
    codes.BACKING_FILE: ErrorKind.INVALID,
    codes.DOWNLOAD_FAILED: ErrorKind.INVALID,
    codes.CHECKSUM: ErrorKind.INVALID,
    codes.PATH_REFUSED: ErrorKind.INVALID,
    codes.DEADLINE: ErrorKind.TIMEOUT,
    codes.CANCELLED: ErrorKind.CANCELLED,
    codes.INTERNAL: ErrorKind.INTERNAL,
    codes.BAD_REQUEST: ErrorKind.INTERNAL,
}


#: what everybody may know of a failure that only administrators can do something about
_WORDS: Final = {
    codes.NO_SPACE: "the disk of the machine that was to do it is full",
    codes.NO_MEMORY: "the machine that was to do it has not enough memory free",
    codes.HYPERVISOR: "the hypervisor refused",
    codes.HYPERVISOR_UNAVAILABLE: "the hypervisor of the machine that was to do it does not answer",
    codes.MISSING_FILE: "a file that it builds on is gone",
    codes.CHECKSUM: "the image was changed or damaged since it was added; add it again",
    codes.VM_NOT_RUNNING: "the VM does not run",
    codes.BUSY: "what it is about is in use",
    codes.DEADLINE: "the machine that was to do it did not finish in time",
    codes.CANCELLED: "it was taken back",
    codes.STALE_EPOCH: "another management node has taken this over",
}
_NO_WORDS: Final = "the machine that was to do it could not"

_encoder = msgspec.json.Encoder()
_reply_decoder = msgspec.json.Decoder(Reply)
_pong_decoder = msgspec.json.Decoder(Pong)
_result_decoders: dict[type[Result], msgspec.json.Decoder[Result]] = {}


class AgentEndpoint(Struct, frozen=True):
    """Where an agent is.

    Args:
        base_url: ``https://198.18.0.11:7171``, without a slash at the end; `/v1/commands` goes below it.
        machine: the uuid of the machine; only its certificate is accepted there, and only it may send late replies. None:
            without TLS.
    """

    base_url: str
    machine: str | None = None

    def __post_init__(self) -> None:
        if not _BASE_URL.fullmatch(self.base_url):
            raise ValueError(
                f"base_url: found {self.base_url!r}; http(s)://host[:port][/path] without a final slash fits"
            )

    @property
    def tls(self) -> bool:
        """Whether the connection uses TLS."""
        return self.base_url.startswith("https:")

    @property
    def address(self) -> str:
        """The agent's host and port, for people."""
        return self.base_url.split("/", 3)[2]


class AgentMetrics(Protocol):
    """Counts calls to agents."""

    def called(self, command: str, seconds: float, outcome: str) -> None:
        """A call has ended; `outcome` is ``ok`` or the error's code."""

    def asked_again(self, command: str) -> None:
        """The answer did not come by itself: the agent was asked about the task, or sent it again."""


class NoMetrics:
    """Ignores calls: for tests and tools, which count nothing."""

    def called(self, command: str, seconds: float, outcome: str) -> None:
        """The call is not counted."""

    def asked_again(self, command: str) -> None:
        """The repetition is not counted."""


class _PendingCommand:
    """One call under way: what stays the same through all of its exchanges."""

    __slots__ = (
        "accepted",
        "answered",
        "begun",
        "command",
        "deadline",
        "endpoint",
        "fences",
        "heard",
        "job",
        "name",
        "reply",
        "task",
    )

    def __init__(
        self,
        endpoint: AgentEndpoint,
        name: str,
        command: bytes,
        task: str,
        job: str | None,
        fences: tuple[Fence, ...],
        deadline: float,
        now: float,
    ) -> None:
        self.endpoint = endpoint
        self.name = name
        self.command = msgspec.Raw(command)
        self.task = task
        self.job = job
        self.fences = fences
        self.deadline = deadline
        self.heard = now  #: when the agent last answered anything (to begin with: when the call began)
        self.answered = False  #: whether the agent has answered anything
        self.accepted = False  #: whether the agent's last word was that it is working on it
        self.begun = False  #: whether the agent may have begun with it
        self.reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()


class AgentClient:
    """Calls agents.

    Args:
        transport: how requests get there.
        clock: for deadlines and polling.
        ids: for task ids.
        callback_url: where agents send late replies, which the gateway hands to `deliver`; None: only polling.
        metrics: what is counted.
        wait_seconds: how long an agent may hold an exchange open before it answers 202.
        poll_seconds: how often a late reply is asked for; without call-backs polling begins faster than that.
        unreachable_seconds: after this long without any answer the agent counts as unreachable.
        cancel_seconds: how long a call that ends early waits for its task to be taken back.
    """

    def __init__(
        self,
        transport: AgentTransport,
        clock: Clock,
        ids: IdSource,
        callback_url: str | None,
        metrics: AgentMetrics | None = None,
        *,
        wait_seconds: float = 5.0,
        poll_seconds: float = 5.0,
        unreachable_seconds: float = 15.0,
        cancel_seconds: float = 10.0,
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._ids = ids
        self._callback_url = callback_url
        self._metrics: AgentMetrics = metrics or NoMetrics()
        self._wait_seconds = wait_seconds
        self._poll_seconds = poll_seconds
        self._unreachable_seconds = unreachable_seconds
        self._cancel_seconds = cancel_seconds
        self._calls: dict[str, _PendingCommand] = {}

    async def call(
        self,
        endpoint: AgentEndpoint,
        command: AgentCommand[R],
        *,
        task: str | None = None,
        timeout_seconds: float,
        job: str | None = None,
        fences: tuple[Fence, ...] = (),
    ) -> R:
        """Have the agent carry out `command`, and return what it answers.

        When it is cancelled, or the deadline passes, the agent is told to stop, and the call ends once nothing of the
        task goes on there (or after `cancel_seconds`, or when the agent cannot be reached).

        Args:
            endpoint: which agent.
            command: what to do.
            task: the task's id, if the call may have been made before; None: a new one. A task that was taken back
                is refused for good.
            timeout_seconds: for everything, repetitions included. The agent gives the work up after as long.
            job: on whose behalf, for the agent's log.
            fences: in whose turn, and since which epoch; none: the agent does it for whoever asks.

        Raises:
            CairnError: ``agent.unreachable`` (unavailable): it does not answer at all. ``agent.timeout`` (timeout): it
                is there, and not done. ``agent.bad-answer`` (internal): it does not speak this protocol. Any of
                `cairn.agents.protocol.codes`: the agent's own failure; after ``agent.stale-epoch`` (conflict) another
                node has the work, and nothing was done.
        """
        now = self._clock.monotonic()
        call = _PendingCommand(
            endpoint,
            command.name,
            _encoder.encode(command),
            task or self._ids.new(),
            job,
            fences,
            now + timeout_seconds,
            now,
        )
        self._calls[call.task] = call
        try:
            reply = await self._first(call)
            result = cast("R", _result(call, reply, command.answer, command.about_caller))
        except CairnError as error:
            self._metrics.called(call.name, self._clock.monotonic() - now, error.code)
            if error.code in (TIMEOUT, UNREACHABLE):
                await self._take_back(call, self._cancel_seconds if error.code == TIMEOUT else _LOST_SECONDS)
            raise
        except asyncio.CancelledError:
            await self._take_back(call, self._cancel_seconds)
            raise
        finally:
            self._forget(call)
        self._metrics.called(call.name, self._clock.monotonic() - now, "ok")
        return result

    async def ping(self, endpoint: AgentEndpoint, timeout_seconds: float) -> Pong:
        """Ask the agent who it is and which VMs it has, once.

        Raises:
            CairnError: ``agent.unreachable`` (unavailable), ``agent.bad-answer`` (internal).
        """
        try:
            status, body = await self._transport.request(
                "GET", endpoint.base_url + "/v1/ping", None, timeout_seconds, machine=endpoint.machine
            )
        except TransportError as error:
            raise _unreachable("ping", endpoint, str(error)) from error
        if status != 200:
            raise _bad_answer("ping", endpoint, f"status {status}")
        try:
            return _pong_decoder.decode(body)
        except msgspec.MsgspecError as error:
            raise _bad_answer("ping", endpoint, str(error)) from error

    def deliver(self, reply_bytes: bytes, machine: str | None = None) -> bool:
        """Take a reply that an agent has sent to `callback_url`; whether somebody was waiting for it.

        A reply that comes twice, or after its call has ended, is not an error: the agent need not repeat it.

        Args:
            machine: whose certificate came with it; None: it came without TLS.

        Raises:
            CairnError: ``agent.bad-answer`` (internal) if it is not a reply; ``agent.not-yours`` (forbidden) if another
                machine was asked.
        """
        try:
            reply = _reply_decoder.decode(reply_bytes)
        except msgspec.MsgspecError as error:
            raise CairnError(
                BAD_ANSWER,
                f"An agent's call-back is not a reply: {error}. The agent may be of another version: "
                "reconnect the host to install this one.",
                kind=ErrorKind.INTERNAL,
            ) from error
        call = self._calls.get(reply.task)
        if call is None or call.reply.done():
            return False
        if call.endpoint.machine != machine and call.endpoint.machine is not None:
            raise CairnError(
                "agent.not-yours",
                f"The reply is to a task of the machine {call.endpoint.machine}, but the certificate is for "
                f"{machine or 'nobody'}. A machine replies to its own tasks only; deploy its agent again.",
                kind=ErrorKind.FORBIDDEN,
            )
        call.reply.set_result(reply)
        return True

    def _forget(self, call: _PendingCommand) -> None:
        """Ignore call-backs for this call from now on. Safe to repeat."""
        if self._calls.get(call.task) is call:
            del self._calls[call.task]

    async def _first(self, call: _PendingCommand) -> Reply:
        """Send the command, and wait until there is a reply."""
        reply = await self._send(call)
        if reply is not None:
            return reply
        called_back = call.accepted and self._callback_url is not None
        pause = self._poll_seconds if called_back else min(0.25, self._poll_seconds)
        while not await self._delivered(call, pause):
            self._metrics.asked_again(call.name)
            reply = await self._ask(call)
            if reply is not None:
                return reply
            pause = min(pause * 1.5, self._poll_seconds)
        return call.reply.result()

    async def _send(self, call: _PendingCommand) -> Reply | None:
        """Send the task; its reply, or None if the agent has to be asked about it later."""
        left = call.deadline - self._clock.monotonic()
        wait = min(self._wait_seconds, left / 2)  # so that a 202 comes before the deadline
        request = Request(
            task=call.task,
            command=call.name,
            body=call.command,
            callback=self._callback_url,
            wait_seconds=wait,
            deadline_seconds=left,
            job=call.job,
            fences=call.fences,
        )
        answer = await self._exchange(call, "POST", "/v1/commands", _encoder.encode(request), min(wait + 10.0, left))
        return None if answer is None else self._read(call, *answer)

    async def _ask(self, call: _PendingCommand) -> Reply | None:
        """Ask what became of the task; where the agent does not know it, send it again."""
        left = call.deadline - self._clock.monotonic()
        answer = await self._exchange(call, "GET", f"/v1/tasks/{call.task}", None, min(10.0, left))
        if answer is None:
            return None
        if answer[0] == 404:
            return await self._send(call)
        return self._read(call, *answer)

    async def _exchange(
        self, call: _PendingCommand, method: str, path: str, body: bytes | None, timeout_seconds: float
    ) -> tuple[int, bytes] | None:
        """One exchange; None if there was no answer and there may yet be one."""
        endpoint = call.endpoint
        before = call.begun
        call.begun = before or method == "POST"
        try:
            answer = await self._transport.request(
                method, endpoint.base_url + path, body, timeout_seconds, machine=endpoint.machine
            )
        except TransportError as error:
            call.begun = before or (call.begun and error.sent)
            now = self._clock.monotonic()
            late = now >= call.deadline
            if now - call.heard >= self._unreachable_seconds or (late and not call.answered):
                raise _unreachable(call.name, endpoint, str(error), call) from error
            if late:
                raise _timeout(call) from error
            return None
        call.heard = self._clock.monotonic()
        call.answered = True
        return answer

    async def _take_back(self, call: _PendingCommand, seconds: float) -> None:
        """Have the agent end the task, trying for `seconds` at most, even if this call is cancelled."""
        if not call.begun or call.reply.done():
            return
        self._forget(call)
        work = asyncio.create_task(self._cancel(call, seconds), name=f"cancel {call.task}")
        cancelled: asyncio.CancelledError | None = None
        while not work.done():
            try:
                await asyncio.wait({work})
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled

    async def _cancel(self, call: _PendingCommand, seconds: float) -> None:
        """Tell the agent to stop the task, until it says that the task is over or unknown, or cannot be reached."""
        endpoint = call.endpoint
        until = self._clock.monotonic() + seconds
        pause = 0.1
        while (left := until - self._clock.monotonic()) > 0:
            try:
                status, _ = await self._transport.request(
                    "DELETE", f"{endpoint.base_url}/v1/tasks/{call.task}", None, left, machine=endpoint.machine
                )
            except TransportError as error:
                if not error.sent:
                    return
            else:
                if status != 202:
                    return
            await self._clock.sleep(min(pause, left))
            pause *= 2

    def _read(self, call: _PendingCommand, status: int, body: bytes) -> Reply | None:
        call.accepted = status == 202
        if call.accepted:
            return None
        try:
            reply = _reply_decoder.decode(body)
        except msgspec.MsgspecError as error:
            raise _bad_answer(call.name, call.endpoint, f"status {status}, {error}") from error
        if reply.task == call.task:
            return reply
        if reply.error is not None and status >= 400:  # so broken that the agent could not read the task's id
            raise _failed(call, reply.error, told=False)
        return None  # the answer to another task, sent twice: ask for ours

    async def _delivered(self, call: _PendingCommand, seconds: float) -> bool:
        """Wait for the call-back for so many seconds. Returns whether it has come.

        Raises:
            CairnError: ``agent.timeout`` at the deadline.
        """
        left = call.deadline - self._clock.monotonic()
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()
        timer = self._clock.call_later(min(seconds, max(left, 0.0)), partial(_wake, woken))
        try:
            await asyncio.wait((call.reply, woken), return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
        if not call.reply.done() and self._clock.monotonic() >= call.deadline:
            raise _timeout(call)
        return call.reply.done()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _result(call: _PendingCommand, reply: Reply, answer: type[Result], about_caller: frozenset[str]) -> Result:
    if reply.error is not None:
        raise _failed(call, reply.error, told=reply.error.code in about_caller)
    decoder = _result_decoders.get(answer)
    if decoder is None:
        decoder = _result_decoders[answer] = msgspec.json.Decoder(answer)
    try:
        return decoder.decode(reply.result)
    except msgspec.MsgspecError as error:
        raise _bad_answer(call.name, call.endpoint, str(error)) from error


def _details(call: _PendingCommand) -> dict[str, str | int | float | bool | list[str] | dict[str, str] | None]:
    return {"command": call.name, "task": call.task}


def _failed(call: _PendingCommand, failure: Failure, *, told: bool) -> CairnError:
    """`told`: everybody may read the machine's own words."""
    words = failure.message if told else f"{_WORDS.get(failure.code, _NO_WORDS)}. Try again, or ask an administrator."
    return CairnError(
        failure.code,
        f"{call.name} failed: {words}",
        kind=_KINDS.get(failure.code, ErrorKind.CONFLICT),
        details=_details(call),
        operator=f"On {call.endpoint.address}: {failure.message}",
    )


def _unreachable(attempt: str, endpoint: AgentEndpoint, found: str, call: _PendingCommand | None = None) -> CairnError:
    return CairnError(
        UNREACHABLE,
        f"{attempt}: the agent of the machine that was to do it cannot be reached. Try again later.",
        kind=ErrorKind.UNAVAILABLE,
        details=_details(call) if call else {"command": attempt},
        operator=f"On {endpoint.address}: {found}. See that the machine is up and connected and its agent runs, then "
        "reconnect it.",
    )


def _timeout(call: _PendingCommand) -> CairnError:
    return CairnError(
        TIMEOUT,
        f"{call.name}: the agent is there but did not finish in time. Try again.",
        kind=ErrorKind.TIMEOUT,
        details=_details(call),
        operator=f"On {call.endpoint.address}: see the agent's log for what it waits for.",
    )


def _bad_answer(attempt: str, endpoint: AgentEndpoint, found: str) -> CairnError:
    return CairnError(
        BAD_ANSWER,
        f"{attempt}: the answer does not follow the agents' protocol. Ask an administrator to reconnect the machine.",
        kind=ErrorKind.INTERNAL,
        details={"command": attempt},
        operator=f"On {endpoint.address}: {found}. Reconnecting puts the agent of this version on it.",
    )
