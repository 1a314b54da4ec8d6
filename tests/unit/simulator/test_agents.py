"""Simulated agents: tasks, call-backs, reports and faults, in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from cairn.agents.protocol import codes
from cairn.agents.protocol.fence import Fence
from cairn.agents.protocol.host import Connect, GetFacts
from cairn.agents.protocol.network import EnsureBridge
from cairn.agents.protocol.storage import CreateVolume, InitStorage
from cairn.agents.protocol.vm import Disk, Hardware, PowerState, StartVm
from cairn.agents.protocol.wire import AgentCommand, Report, Request
from cairn.simulator.agents import SimulatedAgents
from cairn.simulator.dials import Dial
from cairn.simulator.world import new_world
from cairn.testing.clock import VirtualClock

HOST = "sim-0001"
BRIDGE = EnsureBridge(bridge="br0")


class Site:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.sent: list[tuple[float, str, Any]] = []
        self.agents = SimulatedAgents(new_world(2), self.clock, self.send)

    async def send(self, url: str, body: bytes) -> None:
        self.sent.append((self.clock.monotonic(), url, msgspec.json.decode(body)))

    def ask(
        self,
        command: AgentCommand[Any] = BRIDGE,
        task: str = "t",
        host: str = HOST,
        deadline: float = 300.0,
        fence: Fence | None = None,
    ) -> asyncio.Task[tuple[int, bytes]]:
        request = Request(
            task=task,
            command=command.name,
            body=msgspec.Raw(msgspec.json.encode(command)),
            callback="http://node/callback",
            deadline_seconds=deadline,
            fences=(fence,) if fence is not None else (),
        )
        work = self.agents.handle("POST", f"/hosts/{host}/v1/commands", msgspec.json.encode(request))
        return asyncio.ensure_future(work)

    async def done(self, command: AgentCommand[Any] = BRIDGE, task: str = "t", fence: Fence | None = None) -> Any:
        status, body = await self.clock.run(self.ask(command, task, fence=fence))
        assert status == 200
        return msgspec.json.decode(body)

    async def take_back(self, task: str = "t") -> tuple[int, Any]:
        status, body = await self.agents.handle("DELETE", f"/hosts/{HOST}/v1/tasks/{task}", None)
        return status, msgspec.json.decode(body)

    async def task(self, task: str = "t") -> int:
        return (await self.agents.handle("GET", f"/hosts/{HOST}/v1/tasks/{task}", None))[0]


async def test_hosts_are_apart() -> None:
    site = Site()
    await site.done()
    assert "br0" in site.agents.world.hosts[HOST].bridges
    assert not site.agents.world.hosts["sim-0002"].bridges


async def test_task_is_run_once() -> None:
    site = Site()
    first = await site.done()
    assert await site.done() == first
    assert site.agents.changes == 1


async def test_delay_comes_before_the_work() -> None:
    site = Site()
    site.agents.dials.turn(Dial(delay_seconds=3))
    answer = site.ask()
    await site.clock.advance(2.9)
    assert not site.agents.world.hosts[HOST].bridges
    assert await site.task() == 202
    await site.clock.advance(0.2)
    assert (await answer)[0] == 200
    assert await site.task() == 200


async def test_delay_over_the_wait_is_202_and_a_callback() -> None:
    site = Site()
    site.agents.dials.turn(Dial(delay_seconds=8))
    answer = site.ask()
    await site.clock.advance(5)
    assert (await answer) == (202, b"{}")
    await site.clock.advance(5)
    assert site.sent == [(8, "http://node/callback", {"task": "t", "result": {}})]


async def test_slow_is_202_at_once() -> None:
    site = Site()
    site.agents.dials.turn(Dial(slow=True, delay_seconds=1))
    assert (await site.clock.run(site.ask()))[0] == 202
    assert site.clock.monotonic() == 0


async def test_work_over_the_deadline_is_given_up() -> None:
    site = Site()
    site.agents.dials.turn(Dial(delay_seconds=100))
    site.ask(deadline=20)
    await site.clock.advance(30)
    assert [(when, body["error"]["code"]) for when, _, body in site.sent] == [(20, codes.DEADLINE)]
    assert not site.agents.world.hosts[HOST].bridges


async def test_error_does_nothing_and_has_the_code_asked_for() -> None:
    site = Site()
    site.agents.dials.turn(Dial(command=BRIDGE.name, error_next=1, error_code=codes.NO_SPACE))
    assert (await site.done())["error"]["code"] == codes.NO_SPACE
    assert not site.agents.world.hosts[HOST].bridges
    assert "result" in await site.done(task="u")


async def test_lost_answer_means_work_done() -> None:
    site = Site()
    site.agents.dials.turn(Dial(lost_next=1))
    with pytest.raises(ConnectionResetError):
        await site.ask()
    assert "br0" in site.agents.world.hosts[HOST].bridges
    assert await site.task() == 200


async def test_dead_host_does_nothing() -> None:
    site = Site()
    site.agents.dials.turn(Dial(host=HOST, dead=True))
    with pytest.raises(ConnectionResetError):
        await site.ask()
    assert not site.agents.world.hosts[HOST].bridges
    assert (await site.ask(host="sim-0002"))[0] == 200


async def test_work_of_an_agent_that_was_restarted_is_never_done() -> None:
    site = Site()
    site.agents.dials.turn(Dial(delay_seconds=3))
    answer = site.ask()
    await site.clock.advance(1)
    site.agents.restart_agent(HOST)
    await site.clock.advance(5)
    with pytest.raises(ConnectionResetError):
        await answer
    assert not site.agents.world.hosts[HOST].bridges
    assert await site.task() == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/hosts/sim-9999/v1/ping"), ("GET", "/hosts/sim-0001/v1/commands"), ("POST", "/hosts/x/y")],
)
async def test_what_is_not_there_is_404(method: str, path: str) -> None:
    assert (await Site().agents.handle(method, path, None))[0] == 404


async def running(site: Site) -> None:
    await site.done(Connect(host="h" * 32, report_url="http://node/report"), "1")
    await site.done(InitStorage(path="/s"), "2")
    await site.done(CreateVolume(path="/s/a", size_bytes=1), "3")
    disks = [Disk(path="/s/a", device_id=0)]
    hardware = Hardware(uuid="x", name="x", cpu_num=1, memory_size=1 << 30)
    await site.done(StartVm(hardware=hardware, disks=disks, nics=[]), "4")


async def test_vm_that_dies_is_reported_and_told_by_ping() -> None:
    site = Site()
    await running(site)
    assert site.agents.kill_vm(HOST, "x")
    assert not site.agents.kill_vm(HOST, "x")
    await site.clock.advance(1)
    ((_, url, body),) = site.sent
    report = msgspec.convert(body, Report)
    assert url == "http://node/report"
    assert (report.host, report.vm, report.state, report.reason) == ("h" * 32, "x", "Crashed", "crashed")
    assert report.time == site.clock.now().timestamp() - 1
    pong = msgspec.json.decode((await site.agents.handle("GET", f"/hosts/{HOST}/v1/ping", None))[1])
    assert pong["vms"] == {"x": PowerState.CRASHED}


async def test_dead_host_reports_nothing() -> None:
    site = Site()
    await running(site)
    site.agents.dials.turn(Dial(dead=True))
    assert site.agents.kill_vm(HOST, "x")
    await site.clock.advance(1)
    assert not site.sent


async def test_reset_forgets_world_tasks_and_dials() -> None:
    site = Site()
    await site.done()
    site.agents.dials.turn(Dial(dead=True))
    site.agents.reset(new_world(1))
    assert await site.task() == 404
    assert "result" in await site.done(GetFacts(), "t")


@pytest.mark.parametrize("dial", [Dial(delay_seconds=3), Dial(slow=True, delay_seconds=30), Dial(delay_seconds=30)])
async def test_task_taken_back_is_never_done(dial: Dial) -> None:
    site = Site()
    site.agents.dials.turn(dial)
    answer = site.ask()
    await site.clock.advance(2)
    for _ in range(2):
        status, reply = await site.take_back()
        assert (status, reply["error"]["code"]) == (200, codes.CANCELLED)
    await site.clock.advance(60)
    assert answer.done()
    assert not site.agents.world.hosts[HOST].bridges
    assert site.clock.pending() == 0


async def test_task_taken_back_too_late_is_done() -> None:
    site = Site()
    done = await site.done()
    assert await site.take_back() == (200, done)
    assert "br0" in site.agents.world.hosts[HOST].bridges


async def test_task_taken_back_before_it_comes_is_refused() -> None:
    site = Site()
    assert await site.take_back() == (404, {})
    assert (await site.done())["error"]["code"] == codes.CANCELLED
    assert not site.agents.world.hosts[HOST].bridges


async def test_agent_that_was_restarted_does_not_know_what_it_worked_on() -> None:
    site = Site()
    site.agents.dials.turn(Dial(delay_seconds=3))
    answer = site.ask()
    await site.clock.advance(1)
    site.agents.restart_agent(HOST)
    assert (await site.take_back())[0] == 404
    await site.clock.advance(5)
    assert isinstance(answer.exception(), ConnectionResetError)


def of(epoch: int, resource: str = "vm:a", node: str = "n") -> Fence:
    return Fence(resource=resource, epoch=epoch, node=node)


async def test_lower_epoch_is_refused_and_changes_nothing() -> None:
    site = Site()
    await site.done(GetFacts(), "t1", of(7))
    assert (await site.done(BRIDGE, "t2", of(6)))["error"]["code"] == codes.STALE_EPOCH
    assert not site.agents.world.hosts[HOST].bridges
    assert (await site.done(BRIDGE, "t2", of(6)))["error"]["code"] == codes.STALE_EPOCH
    assert "result" in await site.done(BRIDGE, "t3", of(6, "vm:b"))


async def test_epochs_outlive_the_agent_and_are_the_hosts_own() -> None:
    site = Site()
    await site.done(GetFacts(), "t1", of(7))
    site.agents.restart_agent(HOST)
    assert "error" in await site.done(BRIDGE, "t2", of(6))
    status, body = await site.clock.run(site.ask(BRIDGE, "t3", "sim-0002", fence=of(6)))
    assert (status, "result" in msgspec.json.decode(body)) == (200, True)


async def test_command_that_was_overtaken_while_it_waited_is_not_carried_out() -> None:
    site = Site()
    site.agents.dials.turn(Dial(command=BRIDGE.name, delay_seconds=3))
    late = site.ask(BRIDGE, "t1", fence=of(5))
    await site.clock.advance(1)
    await site.done(GetFacts(), "t2", of(7))
    await site.clock.advance(3)
    assert msgspec.json.decode((await late)[1])["error"]["code"] == codes.STALE_EPOCH
    assert not site.agents.world.hosts[HOST].bridges


async def test_slow_command_of_a_lower_epoch_is_refused_at_once() -> None:
    site = Site()
    await site.done(GetFacts(), "t1", of(7))
    site.agents.dials.turn(Dial(command=BRIDGE.name, delay_seconds=3))
    assert "error" in await site.done(BRIDGE, "t2", of(5))
    assert site.clock.monotonic() == 0


async def test_book_tells_who_commanded_what_when_and_in_which_epoch() -> None:
    site = Site()
    await site.done(GetFacts(), "t1", of(7, node="new"))
    await site.clock.advance(2)
    await site.done(BRIDGE, "t2", of(6, node="old"))
    await site.done(BRIDGE, "t3")
    await site.done(BRIDGE, "t3")
    assert [(one.task, one.command, one.turn, one.refused) for one in site.agents.book] == [
        ("t1", GetFacts.name, of(7, node="new"), False),
        ("t2", BRIDGE.name, of(6, node="old"), True),
        ("t3", BRIDGE.name, None, False),
    ]
    first, second, _ = (one.time for one in site.agents.book)
    assert second - first == 2
