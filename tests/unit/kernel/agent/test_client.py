"""Calls to agents: one result or error, whatever happens to the answer."""

from __future__ import annotations

import asyncio
from typing import TypeVar

import msgspec
import pytest

from cairn.agents.protocol import codes
from cairn.agents.protocol.fence import Fence
from cairn.agents.protocol.host import Connect, GetFacts
from cairn.agents.protocol.network import EnsureBridge
from cairn.agents.protocol.storage import DeleteFile, DownloadImage
from cairn.agents.protocol.vm import RebootVm
from cairn.agents.protocol.wire import AgentCommand, Request, Result
from cairn.kernel.agent.client import AgentClient, AgentEndpoint
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.ids import RandomIds
from cairn.simulator.agents import SimulatedAgents
from cairn.simulator.dials import Dial
from cairn.simulator.world import new_world
from cairn.testing.clock import VirtualClock
from cairn.testing.transport import MemoryTransport

R = TypeVar("R", bound=Result)

HOST = AgentEndpoint("http://127.0.0.1:7190/hosts/sim-0001")
BRIDGE = EnsureBridge(bridge="br0")
REBOOT = RebootVm(vm="a" * 32)


class Counts:
    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.again = 0

    def called(self, command: str, seconds: float, outcome: str) -> None:
        self.calls.append((command, outcome))

    def asked_again(self, command: str) -> None:
        self.again += 1


class Cloud:
    """A client, and one simulated host that it calls without sockets."""

    def __init__(self, *, callbacks: bool = True) -> None:
        self.clock = VirtualClock()
        self.agents = SimulatedAgents(new_world(1), self.clock, self.deliver)
        self.transport = MemoryTransport(self.agents.handle, self.clock)
        self.counts = Counts()
        url = "http://127.0.0.1:8080/callback" if callbacks else None
        self.client = AgentClient(self.transport, self.clock, RandomIds(1), url, self.counts)
        self.delivered: list[bool] = []

    async def deliver(self, url: str, body: bytes) -> None:
        self.delivered.append(self.client.deliver(body))

    async def call(self, command: AgentCommand[R], timeout_seconds: float = 60) -> R:
        return await self.clock.run(self.client.call(HOST, command, timeout_seconds=timeout_seconds))

    async def fails(self, command: AgentCommand[R], timeout_seconds: float = 60) -> CairnError:
        with pytest.raises(CairnError) as caught:
            await self.call(command, timeout_seconds)
        return caught.value

    @property
    def sent(self) -> list[str]:
        return [f"{method} {url.partition('/v1/')[2].partition('/')[0]}" for method, url in self.transport.requests]

    @property
    def changes(self) -> int:
        return self.agents.changes


async def test_command_done_at_once_takes_one_exchange() -> None:
    cloud = Cloud()
    await cloud.call(BRIDGE)
    assert cloud.sent == ["POST commands"]
    assert cloud.clock.monotonic() == 0
    assert cloud.counts.calls == [("network.ensure-bridge", "ok")]
    assert cloud.clock.pending() == 0


async def test_result_has_the_type_of_the_command() -> None:
    cloud = Cloud()
    facts = await cloud.client.call(HOST, GetFacts(), timeout_seconds=5)
    assert facts.hostname == "sim-0001"
    assert facts.cpu_num == 64


async def test_failure_keeps_its_code_and_says_what_was_attempted() -> None:
    cloud = Cloud()
    error = await cloud.fails(REBOOT)
    assert error.code == codes.VM_NOT_RUNNING
    assert error.kind is ErrorKind.CONFLICT
    assert error.message == "vm.reboot failed: the VM does not run. Try again, or ask an administrator."
    assert str(error.operator).startswith("On 127.0.0.1:7190: ")
    assert error.details["command"] == "vm.reboot"
    assert cloud.counts.calls == [("vm.reboot", codes.VM_NOT_RUNNING)]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (codes.NO_SPACE, ErrorKind.EXHAUSTED),
        (codes.CHECKSUM, ErrorKind.INVALID),
        (codes.BUSY, ErrorKind.CONFLICT),
        (codes.DEADLINE, ErrorKind.TIMEOUT),
        ("agent.from-the-future", ErrorKind.CONFLICT),
    ],
)
async def test_kind_follows_from_the_code(code: str, kind: ErrorKind) -> None:
    cloud = Cloud()
    cloud.agents.dials.turn(Dial(error_next=1, error_code=code))
    error = await cloud.fails(BRIDGE)
    assert (error.code, error.kind) == (code, kind)


async def test_late_reply_comes_by_callback() -> None:
    cloud = Cloud()
    cloud.agents.dials.turn(Dial(slow=True, delay_seconds=2))
    await cloud.call(BRIDGE)
    assert cloud.sent == ["POST commands"]
    assert cloud.delivered == [True]
    assert cloud.clock.monotonic() == 2


async def test_callback_sent_twice_is_taken_once() -> None:
    cloud = Cloud()
    cloud.agents.dials.turn(Dial(slow=True, delay_seconds=2, duplicate_next=1))
    await cloud.call(BRIDGE)
    await cloud.clock.advance(1)
    assert sorted(cloud.delivered) == [False, True]


async def test_lost_callback_is_made_good_by_asking() -> None:
    cloud = Cloud()
    cloud.agents.dials.turn(Dial(slow=True, delay_seconds=2, lost_next=1))
    await cloud.call(BRIDGE)
    assert cloud.sent == ["POST commands", "GET tasks"]
    assert cloud.clock.monotonic() == 5
    assert cloud.counts.again == 1


async def test_without_callbacks_it_is_asked_ever_more_rarely() -> None:
    cloud = Cloud(callbacks=False)
    cloud.agents.dials.turn(Dial(slow=True, delay_seconds=30))
    await cloud.call(BRIDGE)
    assert 30 <= cloud.clock.monotonic() <= 35
    assert 8 <= cloud.sent.count("GET tasks") <= 16
    assert cloud.changes == 1


async def test_work_longer_than_the_exchange_is_waited_for() -> None:
    cloud = Cloud()
    cloud.agents.dials.turn(Dial(delay_seconds=20))
    await cloud.call(BRIDGE)
    assert cloud.clock.monotonic() == 20
    assert cloud.changes == 1


async def test_lost_answer_is_asked_for_and_not_run_again() -> None:
    cloud = Cloud()
    cloud.transport.lose_answers = 1
    await cloud.call(BRIDGE)
    assert cloud.sent == ["POST commands", "GET tasks"]
    assert cloud.changes == 1


async def test_lost_request_is_sent_again_with_the_same_task() -> None:
    cloud = Cloud()
    cloud.transport.lose_requests = 1
    await cloud.call(BRIDGE)
    assert cloud.sent == ["POST commands", "GET tasks", "POST commands"]
    assert cloud.changes == 1


async def test_exchange_that_times_out_is_asked_for() -> None:
    cloud = Cloud()
    cloud.transport.delay_seconds = 14

    async def mend() -> None:
        await cloud.clock.sleep(16)
        cloud.transport.delay_seconds = 0

    cloud.client = AgentClient(cloud.transport, cloud.clock, RandomIds(1), None, unreachable_seconds=40, wait_seconds=2)
    mending = asyncio.create_task(mend())
    await cloud.call(BRIDGE)
    await mending
    assert cloud.sent.count("GET tasks") >= 1
    assert cloud.changes == 1


async def test_agent_restarted_during_the_work_is_given_the_task_again() -> None:
    cloud = Cloud()
    cloud.agents.dials.turn(Dial(slow=True, delay_seconds=10))
    call = asyncio.create_task(cloud.client.call(HOST, BRIDGE, timeout_seconds=60))
    await cloud.clock.advance(1)
    cloud.agents.restart_agent("sim-0001")
    cloud.agents.dials.clear()
    await cloud.clock.run(call)
    assert cloud.sent == ["POST commands", "GET tasks", "POST commands"]
    assert "br0" in cloud.agents.world.hosts["sim-0001"].bridges


async def test_answer_to_another_task_is_not_taken_for_ours() -> None:
    cloud = Cloud()
    await cloud.call(BRIDGE)
    cloud.transport.answer_twice = 1
    await cloud.call(GetFacts())
    error = await cloud.fails(REBOOT)
    assert error.code == codes.VM_NOT_RUNNING


async def test_dead_host_is_unreachable_after_its_time_not_the_deadline() -> None:
    cloud = Cloud()
    cloud.transport.dead.add("http://127.0.0.1:7190")
    error = await cloud.fails(BRIDGE, timeout_seconds=3600)
    assert (error.code, error.kind) == ("agent.unreachable", ErrorKind.UNAVAILABLE)
    assert "127.0.0.1" not in error.message
    assert "127.0.0.1:7190" in str(error.operator)
    assert "reconnect" in str(error.operator)
    assert 15 <= cloud.clock.monotonic() <= 20


async def test_dead_host_is_unreachable_at_a_deadline_that_comes_sooner() -> None:
    cloud = Cloud()
    cloud.transport.dead.add("http://127.0.0.1:7190")
    error = await cloud.fails(BRIDGE, timeout_seconds=3)
    assert error.code in ("agent.unreachable", "agent.timeout")
    assert cloud.clock.monotonic() == 3


async def test_host_that_comes_back_in_time_is_reached() -> None:
    cloud = Cloud()
    cloud.transport.dead.add("http://127.0.0.1:7190")
    call = asyncio.create_task(cloud.client.call(HOST, BRIDGE, timeout_seconds=60))
    await cloud.clock.advance(5)
    cloud.transport.dead.clear()
    await cloud.clock.run(call)
    assert cloud.clock.monotonic() < 10


async def test_agent_that_does_not_finish_is_a_timeout_at_the_deadline() -> None:
    cloud = Cloud(callbacks=False)
    cloud.agents.dials.turn(Dial(slow=True, delay_seconds=1000))
    error = await cloud.fails(BRIDGE, timeout_seconds=20)
    assert error.code in ("agent.timeout", codes.DEADLINE)
    assert error.kind is ErrorKind.TIMEOUT
    assert cloud.clock.monotonic() == 20
    await cloud.clock.advance(0)
    assert cloud.clock.pending() == 0


async def test_request_carries_what_the_agent_needs() -> None:
    clock = VirtualClock()
    seen: list[Request] = []

    async def handler(method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        seen.append(msgspec.json.decode(body or b"", type=Request))
        return 200, b'{"task":"%b","result":{}}' % seen[-1].task.encode()

    client = AgentClient(MemoryTransport(handler, clock), clock, RandomIds(1), "http://node/callback")
    await client.call(HOST, BRIDGE, task="b" * 32, timeout_seconds=60, job="c" * 32)
    await client.call(HOST, BRIDGE, timeout_seconds=4)
    first, second = seen
    assert (first.task, first.job, first.command) == ("b" * 32, "c" * 32, "network.ensure-bridge")
    assert (first.callback, first.wait_seconds, first.deadline_seconds) == ("http://node/callback", 5, 60)
    assert bytes(first.body) == msgspec.json.encode(BRIDGE)
    assert len(second.task) == 32
    assert second.wait_seconds == 2


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>"),
        (404, b"not found"),
        (200, b'{"task":"%b","result":7}'),
        (500, b""),
    ],
)
async def test_what_is_no_agent_is_told(status: int, body: bytes) -> None:
    clock = VirtualClock()

    async def handler(method: str, path: str, request: bytes | None) -> tuple[int, bytes]:
        return status, body.replace(b"%b", b"b" * 32)

    client = AgentClient(MemoryTransport(handler, clock), clock, RandomIds(1), None)
    with pytest.raises(CairnError) as caught:
        await client.call(HOST, BRIDGE, task="b" * 32, timeout_seconds=60)
    assert caught.value.code == "agent.bad-answer"
    with pytest.raises(CairnError, match="does not follow"):
        await client.ping(HOST, 5)


async def test_request_that_the_agent_cannot_read_fails_at_once() -> None:
    clock = VirtualClock()

    async def handler(method: str, path: str, request: bytes | None) -> tuple[int, bytes]:
        return 400, b'{"task":"","error":{"code":"agent.bad-request","message":"The request does not decode."}}'

    client = AgentClient(MemoryTransport(handler, clock), clock, RandomIds(1), None)
    with pytest.raises(CairnError) as caught:
        await client.call(HOST, BRIDGE, timeout_seconds=60)
    assert caught.value.code == codes.BAD_REQUEST


async def test_ping_tells_host_and_vms() -> None:
    cloud = Cloud()
    assert (await cloud.client.ping(HOST, 5)).host is None
    await cloud.call(Connect(host="d" * 32))
    pong = await cloud.client.ping(HOST, 5)
    assert pong.host == "d" * 32
    assert pong.vms == {}


async def test_ping_of_a_dead_host_fails_at_once() -> None:
    cloud = Cloud()
    cloud.agents.dials.turn(Dial(dead=True))
    with pytest.raises(CairnError) as caught:
        await cloud.client.ping(HOST, 5)
    assert caught.value.code == "agent.unreachable"
    assert len(cloud.sent) == 1


async def test_cancelled_call_leaves_nothing_behind() -> None:
    cloud = Cloud()
    cloud.agents.dials.turn(Dial(slow=True, delay_seconds=10))
    call = asyncio.create_task(cloud.client.call(HOST, BRIDGE, timeout_seconds=60))
    await cloud.clock.advance(1)
    call.cancel()
    await cloud.clock.advance(60)
    assert call.cancelled()
    assert cloud.delivered == [False]
    assert cloud.clock.pending() == 0


async def test_cancelled_call_ends_when_the_agent_has_stopped_the_work() -> None:
    cloud = Cloud()
    cloud.agents.dials.turn(Dial(delay_seconds=4))
    call = asyncio.create_task(cloud.client.call(HOST, BRIDGE, timeout_seconds=60))
    await cloud.clock.advance(1)
    call.cancel()
    await cloud.clock.advance(0)
    assert call.cancelled()
    assert cloud.sent == ["POST commands", "DELETE tasks"]
    await cloud.clock.advance(60)
    assert cloud.changes == 0
    assert cloud.clock.pending() == 0


async def test_call_whose_deadline_passes_ends_when_the_agent_has_stopped_the_work() -> None:
    cloud = Cloud(callbacks=False)
    stopping = Stopping(cloud, answers=[202, 202, 200])
    error = await cloud.fails(BRIDGE, timeout_seconds=20)
    assert error.code == "agent.timeout"
    assert cloud.sent[-3:] == ["DELETE tasks"] * 3
    assert stopping.answers == []
    assert 20 < cloud.clock.monotonic() < 21


class Stopping:
    """An agent that never gets done, and answers so when it is to stop."""

    def __init__(self, cloud: Cloud, *, answers: list[int]) -> None:
        self.answers = answers
        cloud.transport = MemoryTransport(self.handle, cloud.clock)
        cloud.client = AgentClient(cloud.transport, cloud.clock, RandomIds(1), None, cloud.counts)

    async def handle(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        if method != "DELETE":
            return 202, b"{}"
        return (self.answers.pop(0) if self.answers else 202), b"{}"


async def test_agent_that_does_not_stop_is_not_waited_for_without_end() -> None:
    cloud = Cloud()
    Stopping(cloud, answers=[])
    call = asyncio.create_task(cloud.client.call(HOST, BRIDGE, timeout_seconds=60))
    await cloud.clock.advance(1)
    call.cancel()
    await cloud.clock.advance(9)
    assert not call.done()
    await cloud.clock.advance(2)
    assert call.cancelled()
    assert cloud.clock.pending() == 0


async def test_call_cancelled_again_while_it_stops_the_work_still_waits_for_that() -> None:
    cloud = Cloud()
    Stopping(cloud, answers=[202, 202, 202, 404])
    call = asyncio.create_task(cloud.client.call(HOST, BRIDGE, timeout_seconds=1))
    await cloud.clock.advance(1)
    for _ in range(3):
        call.cancel()
        await cloud.clock.advance(0.1)
        assert not call.done()
    await cloud.clock.advance(1)
    assert call.cancelled()
    assert cloud.sent.count("DELETE tasks") == 4


async def test_lost_cancel_is_sent_again() -> None:
    cloud = Cloud()
    cloud.agents.dials.turn(Dial(slow=True, delay_seconds=10))
    call = asyncio.create_task(cloud.client.call(HOST, BRIDGE, timeout_seconds=60))
    await cloud.clock.advance(1)
    cloud.transport.lose_requests = 2
    call.cancel()
    await cloud.clock.advance(1)
    assert call.cancelled()
    await cloud.clock.advance(60)
    assert cloud.sent == ["POST commands", *["DELETE tasks"] * 3]
    assert cloud.changes == 0


async def test_agent_that_was_lost_at_work_is_told_to_stop_for_a_moment_only() -> None:
    cloud = Cloud()
    cloud.transport.lose_answers = 1 << 30
    cloud.agents.dials.turn(Dial(delay_seconds=40))
    error = await cloud.fails(BRIDGE, timeout_seconds=3600)
    assert error.code == "agent.unreachable"
    assert cloud.clock.monotonic() < 25
    await cloud.clock.advance(60)
    assert cloud.changes == 0


async def test_agent_that_cannot_have_begun_is_told_nothing() -> None:
    cloud = Cloud()
    cloud.transport.dead.add("http://127.0.0.1:7190")
    call = asyncio.create_task(cloud.client.call(HOST, BRIDGE, timeout_seconds=60))
    await cloud.clock.advance(1)
    call.cancel()
    await cloud.clock.advance(0)
    assert call.cancelled()
    assert set(cloud.sent) == {"POST commands", "GET tasks"}


async def test_task_that_was_taken_back_is_refused_for_good() -> None:
    cloud = Cloud()
    cloud.agents.dials.turn(Dial(slow=True, delay_seconds=10))
    call = asyncio.create_task(cloud.client.call(HOST, BRIDGE, task="b" * 32, timeout_seconds=60))
    await cloud.clock.advance(1)
    call.cancel()
    await cloud.clock.advance(0)
    with pytest.raises(CairnError) as caught:
        await cloud.client.call(HOST, BRIDGE, task="b" * 32, timeout_seconds=60)
    assert (caught.value.code, caught.value.kind) == (codes.CANCELLED, ErrorKind.CANCELLED)


async def test_image_whose_download_was_cancelled_and_undone_does_not_appear_later() -> None:
    cloud = Cloud()
    backup = AgentEndpoint("http://127.0.0.1:7190/hosts/backup")
    images = cloud.agents.world.hosts["backup"].images
    cloud.agents.dials.turn(Dial(command=DownloadImage.name, delay_seconds=30))
    fetch = DownloadImage(url="http://images.example/a.qcow2", path="/backup/a.qcow2", format="qcow2")
    call = asyncio.create_task(cloud.client.call(backup, fetch, timeout_seconds=600))
    await cloud.clock.advance(10)
    call.cancel()
    await cloud.clock.advance(0)
    assert call.cancelled()
    await cloud.clock.run(cloud.client.call(backup, DeleteFile(path=fetch.path), timeout_seconds=60))
    await cloud.clock.advance(600)
    assert images == {}


def test_callback_that_is_no_reply_is_told() -> None:
    cloud = Cloud()
    with pytest.raises(CairnError) as caught:
        cloud.client.deliver(b"{}")
    assert caught.value.code == "agent.bad-answer"


async def test_only_the_machine_that_was_asked_may_reply() -> None:
    cloud = Cloud()
    asked = AgentEndpoint(HOST.base_url, machine="a")
    cloud.agents.dials.turn(Dial(command=GetFacts.name, slow=True, delay_seconds=30, lost_rate=1.0))
    call = asyncio.create_task(cloud.client.call(asked, GetFacts(), task="t1", timeout_seconds=60))
    await cloud.clock.advance(1)
    forged = msgspec.json.encode({"task": "t1", "result": {"hostname": "evil", "architecture": "x"}})
    for machine in ("b", None):
        with pytest.raises(CairnError, match="replies to its own tasks only") as caught:
            cloud.client.deliver(forged, machine)
        assert caught.value.code == "agent.not-yours"
    assert not call.done()

    assert cloud.client.deliver(forged, "a")
    assert (await cloud.clock.run(call)).hostname == "evil"


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:80", "ftp://a", "http://", "http://a/", "http://a b", "http://a\r\nX: y"]
)
def test_endpoint_with_a_url_that_does_not_fit_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        AgentEndpoint(url)


def test_endpoint_tells_address_and_tls() -> None:
    endpoint = AgentEndpoint("https://198.18.0.11:7171/hosts/a", "host.cairn")
    assert endpoint.tls
    assert endpoint.address == "198.18.0.11:7171"
    assert not HOST.tls


async def test_command_of_an_owner_that_was_overtaken_is_refused_in_words_for_each() -> None:
    cloud = Cloud()
    new, old = (Fence(resource="vm:a", epoch=epoch, node="n") for epoch in (7, 6))
    await cloud.clock.run(cloud.client.call(HOST, BRIDGE, timeout_seconds=60, fences=(new,)))

    with pytest.raises(CairnError) as caught:
        await cloud.clock.run(cloud.client.call(HOST, BRIDGE, timeout_seconds=60, fences=(old,)))

    error = caught.value
    assert (error.code, error.kind) == (codes.STALE_EPOCH, ErrorKind.CONFLICT)
    assert "another management node has taken this over" in error.message
    assert "epoch 7" in str(error.operator)
    assert "epoch" not in error.message
    assert cloud.changes == 1


async def test_command_that_is_sent_again_has_its_fence_still() -> None:
    cloud = Cloud()
    cloud.transport.lose_requests = 1
    await cloud.clock.run(
        cloud.client.call(HOST, BRIDGE, timeout_seconds=60, fences=(Fence(resource="vm:a", epoch=7),))
    )
    assert [line.fences for line in cloud.agents.book] == [(Fence(resource="vm:a", epoch=7),)]
