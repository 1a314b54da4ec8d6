from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable
from typing import TYPE_CHECKING, ClassVar

import pytest
from msgspec import Struct, structs

from cairn.agents.protocol.fence import Fence
from cairn.kernel.bus.context import CallContext, Origin, current, entered
from cairn.kernel.bus.message import Command, Event, encode_message
from cairn.kernel.bus.transport import Announcement, Answer, Returned, pack
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.ids import JobId, NodeId
from cairn.kernel.log import configure
from cairn.testing.clock import VirtualClock

if TYPE_CHECKING:
    from tests.unit.kernel.bus.conftest import Cloud, Node


class Watered(Struct, frozen=True):
    by: str
    litres: float


class WaterPlant(Command[Watered], frozen=True, kw_only=True, tag="plant.water"):
    route: ClassVar[str | None] = "plant"
    plant: str | None
    litres: float = 1.0


class PrunePlant(Command[None], frozen=True, kw_only=True, tag="plant.prune"):
    route: ClassVar[str | None] = "plant"
    plant: str


class PlantBloomed(Event, frozen=True, kw_only=True, tag="plant.bloomed"):
    plant: str


class Garden:
    """Handlers on all nodes; each waters at once, and prunes for as long as it is told."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.contexts: list[CallContext] = []
        self.prune_seconds = 60.0
        for node in cloud.nodes:
            self._plant(node)

    def _plant(self, node: Node) -> None:
        async def water(message: WaterPlant) -> Watered:
            self.contexts.append(current())
            return Watered(by=node.id, litres=message.litres)

        async def prune(_: PrunePlant) -> None:
            self.begun.append(node.id)
            try:
                await self.cloud.clock.sleep(self.prune_seconds)
            finally:
                self.ended.append(node.id)

        node.bus.register(WaterPlant, water)
        node.bus.register(PrunePlant, prune)


@pytest.fixture
def garden(cloud: Cloud) -> Garden:
    return Garden(cloud)


async def error_of(work: Awaitable[object]) -> CairnError:
    with pytest.raises(CairnError) as caught:
        await work
    return caught.value


async def test_message_goes_to_the_node_that_owns_its_resource(cloud: Cloud, garden: Garden) -> None:
    for owner in cloud.nodes:
        for asker in cloud.nodes:
            message = WaterPlant(plant=cloud.key_of(owner), litres=2.5)
            answer = await cloud.clock.run(asker.bus.call(message))
            assert answer == Watered(by=owner.id, litres=2.5)


async def test_message_whose_routing_field_is_none_stays_here(cloud: Cloud, garden: Garden) -> None:
    assert (await cloud.b.bus.call(WaterPlant(plant=None))).by == cloud.b.id


async def test_context_and_remaining_time_travel_along(cloud: Cloud, garden: Garden) -> None:
    cloud.network.delay_seconds = 2.0
    here = CallContext(
        JobId("job"),
        ("job",),
        30.0,
        actor="account",
        origin=Origin(address="192.0.2.1", session="s"),
        parent="run",
        fence=Fence(resource="vm:a", epoch=3, node="n"),
    )
    with entered(here):
        await cloud.clock.run(cloud.a.bus.call(WaterPlant(plant=cloud.key_of(cloud.b))))
    assert garden.contexts == [structs.replace(here, stack=("job", "plant.water"), deadline=32.0)]


async def test_named_node_does_the_work_although_another_owns_the_resource(cloud: Cloud, garden: Garden) -> None:
    plant = cloud.key_of(cloud.b)
    for named in cloud.nodes:
        answer = await cloud.clock.run(cloud.a.bus.ask(named.id, WaterPlant(plant=plant)))
        assert answer.by == named.id


async def test_node_that_is_no_member_cannot_be_asked(cloud: Cloud, garden: Garden) -> None:
    gone = NodeId("node-z")
    error = await error_of(cloud.a.bus.ask(gone, WaterPlant(plant=None)))
    assert (error.code, error.details) == ("bus.node-gone", {"node": gone})


async def test_named_node_that_leaves_before_it_answers_is_gone(cloud: Cloud, garden: Garden) -> None:
    call = asyncio.create_task(cloud.a.bus.ask(cloud.b.id, PrunePlant(plant=cloud.key_of(cloud.a))))
    await cloud.clock.advance(1)
    assert garden.begun == [cloud.b.id]
    cloud.members([cloud.a, cloud.c], epoch=2)
    assert (await error_of(call)).code == "bus.node-gone"


async def test_named_node_is_asked_until_the_deadline(cloud: Cloud, garden: Garden) -> None:
    call = cloud.a.bus.ask(cloud.b.id, PrunePlant(plant=cloud.key_of(cloud.a)), timeout_seconds=5)
    assert (await error_of(cloud.clock.run(call))).code == "bus.deadline-passed"
    await cloud.clock.advance(0)
    assert garden.ended == [cloud.b.id]


async def test_work_for_here_is_done_here_although_another_owns_the_resource(cloud: Cloud, garden: Garden) -> None:
    assert (await cloud.a.bus.here(WaterPlant(plant=cloud.key_of(cloud.b)))).by == cloud.a.id


async def test_error_comes_back_with_kind_fields_and_cause(cloud: Cloud) -> None:
    async def water(_: WaterPlant) -> Watered:
        raise CairnError(
            "plant.drowned",
            "It has had enough.",
            kind=ErrorKind.CONFLICT,
            fields={"litres": "found 1; 0 would fit"},
            details={"litres": 3},
            cause=CairnError("rain.fell", "It rained."),
        )

    cloud.b.bus.register(WaterPlant, water)
    error = await error_of(cloud.clock.run(cloud.a.bus.call(WaterPlant(plant=cloud.key_of(cloud.b)))))
    assert (error.code, error.kind, error.fields) == (
        "plant.drowned",
        ErrorKind.CONFLICT,
        {"litres": "found 1; 0 would fit"},
    )
    assert error.details == {"litres": 3}
    assert error.cause is not None
    assert error.cause.code == "rain.fell"


async def test_bug_on_another_node_is_answered(cloud: Cloud) -> None:
    async def water(_: WaterPlant) -> Watered:
        raise ZeroDivisionError

    configure(io.StringIO())
    cloud.b.bus.register(WaterPlant, water)
    error = await error_of(cloud.clock.run(cloud.a.bus.call(WaterPlant(plant=cloud.key_of(cloud.b)))))
    configure(level="warning")
    assert error.code == "internal.bug"


async def test_missing_handler_on_another_node_is_answered(cloud: Cloud) -> None:
    error = await error_of(cloud.clock.run(cloud.a.bus.call(WaterPlant(plant=cloud.key_of(cloud.b)))))
    assert error.code == "bus.no-handler"
    assert error.details["node"] == cloud.b.id


async def test_node_that_leaves_in_the_middle_of_calls_is_answered_for_at_once(cloud: Cloud, garden: Garden) -> None:
    calls = [asyncio.create_task(cloud.a.bus.call(PrunePlant(plant=cloud.key_of(cloud.b)))) for _ in range(10)]
    other = asyncio.create_task(cloud.a.bus.call(PrunePlant(plant=cloud.key_of(cloud.c))))
    await cloud.clock.advance(1)
    assert garden.begun.count(cloud.b.id) == 10
    cloud.network.cut(cloud.a.id, cloud.b.id)
    cloud.members([cloud.a, cloud.c], epoch=2)
    await cloud.clock.settle()
    errors = [call.exception() for call in calls]
    assert {getattr(error, "code", None) for error in errors} == {"bus.node-gone"}
    assert {getattr(error, "kind", None) for error in errors} == {ErrorKind.UNAVAILABLE}
    assert not other.done()
    await cloud.clock.advance(60)
    assert other.result() is None


async def test_node_that_restarted_is_answered_for_although_it_is_a_member(cloud: Cloud, garden: Garden) -> None:
    call = asyncio.create_task(cloud.a.bus.call(PrunePlant(plant=cloud.key_of(cloud.b))))
    await cloud.clock.advance(1)
    cloud.a.ring.set_members([node.id for node in cloud.nodes], 2, restarted=[cloud.b.id])
    assert (await error_of(call)).code == "bus.node-gone"


async def test_work_whose_asker_has_left_is_cancelled(cloud: Cloud, garden: Garden) -> None:
    call = asyncio.create_task(cloud.a.bus.call(PrunePlant(plant=cloud.key_of(cloud.b))))
    await cloud.clock.advance(1)
    cloud.b.ring.set_members([cloud.b.id, cloud.c.id], 2)
    await cloud.clock.settle()
    assert garden.ended == [cloud.b.id]
    call.cancel()


async def test_cancelled_caller_cancels_the_work_on_the_other_node(cloud: Cloud, garden: Garden) -> None:
    call = asyncio.create_task(cloud.a.bus.call(PrunePlant(plant=cloud.key_of(cloud.b))))
    await cloud.clock.advance(1)
    call.cancel()
    await cloud.clock.advance(0)
    assert garden.ended == [cloud.b.id]
    assert call.cancelled()


async def test_deadline_ends_the_work_on_the_other_node(cloud: Cloud, garden: Garden) -> None:
    call = cloud.a.bus.call(PrunePlant(plant=cloud.key_of(cloud.b)), timeout_seconds=5)
    assert (await error_of(cloud.clock.run(call))).code == "bus.deadline-passed"
    await cloud.clock.advance(0)
    assert garden.ended == [cloud.b.id]
    assert cloud.clock.monotonic() == 5.0


async def test_other_node_ends_the_work_at_the_deadline_even_when_cut_off(cloud: Cloud, garden: Garden) -> None:
    call = asyncio.create_task(cloud.a.bus.call(PrunePlant(plant=cloud.key_of(cloud.b)), timeout_seconds=5))
    await cloud.clock.advance(1)
    cloud.network.cut(cloud.a.id, cloud.b.id)
    await cloud.clock.advance(4)
    assert (await error_of(call)).code == "bus.deadline-passed"
    assert garden.ended == [cloud.b.id]


async def test_lost_request_is_answered_at_the_deadline(cloud: Cloud, garden: Garden) -> None:
    cloud.network.drop = lambda source, target, envelope: True
    call = cloud.a.bus.call(WaterPlant(plant=cloud.key_of(cloud.b)), timeout_seconds=5)
    assert (await error_of(cloud.clock.run(call))).code == "bus.deadline-passed"
    assert garden.contexts == []


async def test_repeated_request_runs_once_and_repeated_answer_is_dropped(cloud: Cloud, garden: Garden) -> None:
    cloud.network.copies = 3
    await cloud.clock.run(cloud.a.bus.call(WaterPlant(plant=cloud.key_of(cloud.b))))
    await cloud.clock.advance(1)
    assert len(garden.contexts) == 1


async def test_node_that_does_not_own_the_resource_refuses_and_the_asker_finds_the_owner(
    cloud: Cloud, garden: Garden
) -> None:
    plant = cloud.key_of(cloud.b)
    cloud.b.ring.set_members([cloud.a.id, cloud.c.id], 2)  # b knows already that it is out, a does not
    call = asyncio.create_task(cloud.a.bus.call(WaterPlant(plant=plant)))
    await cloud.clock.advance(0)
    assert garden.contexts == []
    cloud.members([cloud.a, cloud.c], epoch=2)
    answer = await cloud.clock.run(call)
    assert answer.by == cloud.a.ring.node_of(plant) != cloud.b.id


async def test_rings_that_never_agree_are_reported_and_nothing_is_done(cloud: Cloud, garden: Garden) -> None:
    plant = cloud.key_of(cloud.b)
    cloud.b.ring.set_members([cloud.a.id, cloud.c.id], 2)
    error = await error_of(cloud.clock.run(cloud.a.bus.call(WaterPlant(plant=plant))))
    assert (error.code, error.kind) == ("bus.not-owner", ErrorKind.UNAVAILABLE)
    assert garden.contexts == []


async def test_stopping_node_answers_what_it_was_asked(cloud: Cloud, garden: Garden) -> None:
    call = asyncio.create_task(cloud.a.bus.call(PrunePlant(plant=cloud.key_of(cloud.b))))
    await cloud.clock.advance(1)
    await cloud.b.bus.stop()
    await cloud.clock.advance(0)
    assert (await error_of(call)).code == "bus.stopped"
    assert garden.ended == [cloud.b.id]


async def test_stopping_node_answers_its_own_open_calls(cloud: Cloud, garden: Garden) -> None:
    call = asyncio.create_task(cloud.a.bus.call(PrunePlant(plant=cloud.key_of(cloud.b))))
    await cloud.clock.advance(1)
    await cloud.a.bus.stop()
    assert (await error_of(call)).code == "bus.stopped"


async def test_event_is_heard_on_all_nodes_once(cloud: Cloud) -> None:
    heard: list[tuple[str, str, str | None]] = []

    def listen(node: Node) -> None:
        async def hear(event: PlantBloomed) -> None:
            heard.append((node.id, event.plant, current().job))

        node.bus.subscribe(PlantBloomed, hear, "gardener")

    for node in cloud.nodes:
        listen(node)
    with entered(CallContext(job=JobId("job"))):
        await cloud.a.bus.publish(PlantBloomed(plant="rose"))
    await cloud.clock.advance(0)
    assert sorted(heard) == [(node.id, "rose", "job") for node in cloud.nodes]


async def test_node_that_is_back_is_asked_again_at_once_by_those_who_wait_for_it(cloud: Cloud, garden: Garden) -> None:
    cloud.network.cut(cloud.a.id, cloud.b.id)
    call = asyncio.create_task(cloud.a.bus.call(WaterPlant(plant=cloud.key_of(cloud.b))))
    await cloud.clock.advance(10)
    cloud.network.mend()
    cloud.network.carry_to_all(cloud.b.id, pack(Returned(sender=cloud.b.id), "it"))
    await cloud.clock.advance(1)
    assert (await call).by == cloud.b.id
    assert len(garden.contexts) == 1


async def test_lost_answer_is_asked_for_and_the_work_done_once(cloud: Cloud, garden: Garden) -> None:
    cloud.network.drop = lambda source, target, envelope: source == cloud.b.id
    call = asyncio.create_task(cloud.a.bus.call(WaterPlant(plant=cloud.key_of(cloud.b))))
    await cloud.clock.advance(1)
    cloud.network.drop = lambda source, target, envelope: False
    assert (await cloud.clock.run(call)).by == cloud.b.id
    assert len(garden.contexts) == 1


async def test_event_that_comes_twice_or_from_a_stranger_is_not_heard_again(cloud: Cloud) -> None:
    heard: list[str] = []

    async def hear(event: PlantBloomed) -> None:
        heard.append(event.plant)

    cloud.b.bus.subscribe(PlantBloomed, hear, "gardener")
    cloud.network.copies = 3
    await cloud.a.bus.publish(PlantBloomed(plant="rose"))
    message = encode_message(PlantBloomed(plant="thistle"))
    stranger = Announcement(sender=NodeId("stranger"), message=message, number=1)
    cloud.network.carry_to_all(NodeId("stranger"), pack(stranger, "it"))
    await cloud.clock.advance(1)
    assert heard == ["rose"]


async def test_garbage_from_the_wire_is_dropped(cloud: Cloud, garden: Garden, clock: VirtualClock) -> None:
    configure(io.StringIO())
    cloud.network.carry(cloud.a.id, cloud.b.id, b"\xc1 not msgpack")
    unknown = Answer(id="nobody waits", sender=cloud.a.id)
    cloud.network.carry(cloud.a.id, cloud.b.id, pack(unknown, "it"))
    await clock.advance(0)
    configure(level="warning")
    answer = await clock.run(cloud.a.bus.call(WaterPlant(plant=cloud.key_of(cloud.b))))
    assert answer.by == cloud.b.id
