from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from tests.unit.agents.fakes import FakeClock, FakePoster, settle

from cairn.agents.commands import Registry, handles
from cairn.agents.delivery import Delivery
from cairn.agents.epochs import Epochs
from cairn.agents.errors import AgentError
from cairn.agents.protocol import codes
from cairn.agents.protocol.fence import Fence
from cairn.agents.protocol.storage import Capacity, GetCapacity
from cairn.agents.protocol.wire import Request
from cairn.agents.tasks import Task, TaskTable

CALLBACK = "https://node/callback"


class Area:
    """Answers when the gate is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.slow = asyncio.Event()
        self.runs = 0
        self.cancelled = False
        self.cleaned = asyncio.Event()
        self.cleaned.set()

    @handles(GetCapacity)
    async def capacity(self, command: GetCapacity) -> Capacity:
        self.runs += 1
        try:
            await (self.slow if command.path == "slow" else self.gate).wait()
        except asyncio.CancelledError:
            self.cancelled = True
            await self.cleaned.wait()
            if command.path == "late":
                return Capacity(total_bytes=2, available_bytes=1)
            raise
        if command.path == "bad":
            raise AgentError(codes.NO_SPACE, "full")
        return Capacity(total_bytes=2, available_bytes=1)


class World:
    def __init__(self, folder: Path, **limits: float) -> None:
        self.clock = FakeClock()
        self.poster = FakePoster()
        self.area = Area()
        self.table = TaskTable(
            Registry([self.area]),
            Delivery(self.poster, self.clock),
            self.clock,
            Epochs(folder / "epochs"),
            keep_count=int(limits.get("keep_count", 10)),
            keep_seconds=limits.get("keep_seconds", 3600.0),
        )


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def request(task: str = "t1", path: str = "/", command: str = "storage.capacity", deadline: float = 300.0) -> Request:
    body = msgspec.Raw(msgspec.json.encode(GetCapacity(path=path)))
    return Request(task=task, command=command, body=body, deadline_seconds=deadline)


async def test_same_task_sent_twice_runs_once_and_gets_the_same_reply(world: World) -> None:
    first, second = world.table.submit(request()), world.table.submit(request())
    world.area.gate.set()
    reply = await world.table.wait(first, 5)
    assert first is second
    assert world.area.runs == 1
    assert reply is await world.table.wait(world.table.submit(request()), 5)
    assert reply is not None
    assert msgspec.json.decode(reply.result, type=Capacity) == Capacity(total_bytes=2, available_bytes=1)


async def test_task_that_takes_longer_than_waited_for_has_no_reply_yet(world: World) -> None:
    task = world.table.submit(request())
    waiting = asyncio.ensure_future(world.table.wait(task, 5))
    await world.clock.advance(5)
    assert await waiting is None
    world.area.gate.set()
    await settle()
    assert task.reply is not None


async def test_late_reply_is_sent_to_the_callback_once(world: World) -> None:
    task = world.table.submit(request())
    world.table.call_back(task, CALLBACK)
    world.table.call_back(task, CALLBACK)
    world.area.gate.set()
    await settle()
    assert [url for url, _ in world.poster.posted] == [CALLBACK]
    assert msgspec.json.decode(world.poster.posted[0][1])["task"] == "t1"


async def test_callback_asked_for_after_the_end_is_sent_at_once(world: World) -> None:
    world.area.gate.set()
    task = world.table.submit(request())
    await world.table.wait(task, 5)
    world.table.call_back(task, CALLBACK)
    await settle()
    assert len(world.poster.posted) == 1


async def test_deadline_cancels_the_work_and_says_so(world: World) -> None:
    task = world.table.submit(request(deadline=7))
    await world.clock.advance(7)
    assert world.area.cancelled
    assert task.reply is not None
    assert task.reply.error is not None
    assert task.reply.error.code == codes.DEADLINE
    assert "7 s" in task.reply.error.message


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (request(path="bad"), codes.NO_SPACE),
        (request(command="no.such"), codes.UNKNOWN_COMMAND),
        (Request(task="t1", command="storage.capacity", body=msgspec.Raw(b'{"path":7}')), codes.BAD_REQUEST),
        (Request(task="t1", command="storage.capacity", body=msgspec.Raw(b'{"path":"","x":1}')), codes.BAD_REQUEST),
    ],
)
async def test_failure_is_a_reply_with_its_code(world: World, sent: Request, code: str) -> None:
    world.area.gate.set()
    reply = await world.table.wait(world.table.submit(sent), 5)
    assert reply is not None
    assert reply.error is not None
    assert reply.error.code == code
    assert not bytes(reply.result)


async def test_finished_tasks_are_forgotten_after_their_time(tmp_path: Path) -> None:
    world = World(tmp_path, keep_seconds=60)
    world.area.gate.set()
    await world.table.wait(world.table.submit(request()), 5)
    await world.clock.advance(59)
    assert world.table.find("t1") is not None
    await world.clock.advance(2)
    assert world.table.find("t1") is None


async def test_oldest_finished_tasks_are_forgotten_when_there_are_too_many_but_running_ones_never(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, keep_count=2)
    running = world.table.submit(request("running", path="slow"))
    world.area.gate.set()
    for name in ("a", "b", "c"):
        await world.table.wait(world.table.submit(request(name)), 5)
    assert world.table.find("a") is None
    assert world.table.find("c") is not None
    assert world.table.find("running") is running


async def test_close_answers_what_runs_with_stopped(world: World) -> None:
    task = world.table.submit(request())
    await settle()
    await world.table.close()
    assert task.reply is not None
    assert task.reply.error is not None
    assert task.reply.error.code == codes.STOPPED


def code(task: Task | None) -> str | None:
    assert task is not None
    assert task.reply is not None
    return task.reply.error.code if task.reply.error else None


async def test_task_taken_back_is_over_only_when_it_has_cleaned_up(world: World) -> None:
    world.area.cleaned.clear()
    task = world.table.submit(request())
    world.table.call_back(task, CALLBACK)
    await settle()
    cancelling = [asyncio.ensure_future(world.table.cancel("t1", 60)) for _ in range(2)]
    await settle()
    assert world.area.cancelled
    assert (task.reply, [one.done() for one in cancelling]) == (None, [False, False])
    world.area.cleaned.set()
    assert [code(await one) for one in cancelling] == [codes.CANCELLED] * 2
    assert [msgspec.json.decode(body)["error"]["code"] for _, body in world.poster.posted] == [codes.CANCELLED]


async def test_task_that_cleans_up_for_long_is_not_over_yet(world: World) -> None:
    world.area.cleaned.clear()
    task = world.table.submit(request())
    await settle()
    cancelling = asyncio.ensure_future(world.table.cancel("t1", 60))
    await world.clock.advance(60)
    assert await cancelling is task
    assert not task.over.is_set()
    world.area.cleaned.set()
    await settle()


async def test_task_taken_back_after_its_deadline_waits_for_the_end_of_its_work(world: World) -> None:
    world.area.cleaned.clear()
    task = world.table.submit(request(deadline=7))
    await world.clock.advance(7)
    assert code(task) == codes.DEADLINE
    cancelling = asyncio.ensure_future(world.table.cancel("t1", 60))
    await settle()
    assert not cancelling.done()
    world.area.cleaned.set()
    assert code(await cancelling) == codes.DEADLINE


async def test_task_taken_back_at_once_is_not_begun(world: World) -> None:
    world.table.submit(request())
    assert code(await world.table.cancel("t1", 5)) == codes.CANCELLED
    assert world.area.runs == 0


async def test_task_taken_back_too_late_keeps_its_reply(world: World) -> None:
    world.area.gate.set()
    reply = await world.table.wait(world.table.submit(request("done")), 5)
    task = await world.table.cancel("done", 5)
    assert task is not None
    assert task.reply is reply
    world.area.gate.clear()
    world.table.submit(request("t1", path="late"))
    await settle()
    assert code(await world.table.cancel("t1", 5)) is None


async def test_task_taken_back_before_it_came_is_refused(world: World) -> None:
    world.area.gate.set()
    assert await world.table.cancel("t1", 5) is None
    assert code(world.table.submit(request())) == codes.CANCELLED
    assert code(await world.table.cancel("t1", 5)) == codes.CANCELLED
    assert world.area.runs == 0


async def test_command_of_a_lower_epoch_is_refused_before_it_begins(world: World) -> None:
    world.area.gate.set()
    for task, epoch in (("t1", 5), ("t2", 7), ("t3", 6)):
        sent = msgspec.structs.replace(request(task), fences=(Fence(resource="vm:a", epoch=epoch, node="n"),))
        reply = await world.table.wait(world.table.submit(sent), 5)
    assert reply is not None
    assert reply.error is not None
    assert reply.error.code == codes.STALE_EPOCH
    assert world.area.runs == 2
    assert await world.table.wait(world.table.submit(request("t3")), 5) is reply, "it is not run when it comes again"


async def test_task_that_is_taken_back_while_its_epoch_is_written_begins_nothing(world: World) -> None:
    world.area.gate.set()
    sent = msgspec.structs.replace(request(), fences=(Fence(resource="vm:a", epoch=5),))
    task = world.table.submit(sent)
    await asyncio.sleep(0)
    await world.table.cancel("t1", 5)
    reply = await world.table.wait(task, 5)
    assert reply is not None
    assert reply.error is not None
    assert (reply.error.code, world.area.runs) == (codes.CANCELLED, 0)
