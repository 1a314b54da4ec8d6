"""Nodes over a real broker, which is killed, held and started again under them."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from msgspec import structs
from tests.broker.cloud import BusNode, Counted, CountSheep, SheepShorn, reached
from tests.broker.conftest import NODES, Nodes
from tests.broker.server import PASSWORD, USER, VHOST, RabbitServer

from cairn.bootstrap import Node
from cairn.kernel import log
from cairn.kernel.bus.broker import parse_broker
from cairn.kernel.bus.context import CallContext, entered
from cairn.kernel.bus.rabbit import PREFETCH
from cairn.kernel.error import CairnError
from cairn.kernel.ids import NodeId
from cairn.kernel.settings import load

A, B, C = NODES


async def code_of(call: asyncio.Task[Counted]) -> str:
    with pytest.raises(CairnError) as caught:
        await call
    return caught.value.code


def once(*nodes: BusNode) -> set[int]:
    """How often each sheep was counted."""
    counted: Counter[int] = Counter()
    for node in nodes:
        counted.update(node.counted)
    return set(counted.values())


async def test_call_goes_to_its_owner_with_its_context_and_the_answer_comes_back(nodes: Nodes) -> None:
    made = [await nodes.start(node) for node in NODES]
    with entered(CallContext(actor="shepherd")):
        for asker in made:
            for owner in made:
                answer = await asker.count(owner.node, 7)
                assert answer == Counted(number=7, by=owner.node)
    assert [node.actors for node in made] == [{"shepherd"}] * 3


async def test_named_node_is_asked(nodes: Nodes) -> None:
    a, b = [await nodes.start(node) for node in (A, B)]
    answer = await a.bus.ask(B, CountSheep(flock=a.flock_of(A), number=1))
    assert (answer.by, b.counted) == (B, {1: 1})


async def test_event_is_heard_once_on_every_node(nodes: Nodes) -> None:
    made = [await nodes.start(node) for node in NODES]
    for number in range(100):
        await made[number % 3].bus.publish(SheepShorn(number=number))
    await reached(lambda: all(len(node.heard) == 100 for node in made), "all events are heard")
    assert {count for node in made for count in node.heard.values()} == {1}


async def test_cancel_ends_the_work_on_the_other_node(nodes: Nodes) -> None:
    a, b = [await nodes.start(node) for node in (A, B)]
    call = a.count(B, 1, seconds=1000)
    await reached(lambda: b.counted[1] == 1, "it has begun")
    call.cancel()
    await reached(lambda: b.cancelled[1] == 1, "it is cancelled")


async def test_large_messages_pass_and_too_large_ones_are_refused(nodes: Nodes) -> None:
    a, _ = [await nodes.start(node) for node in (A, B)]
    flock = a.flock_of(B)
    answer = await a.bus.call(CountSheep(flock=flock, number=1, letters=10 << 20))
    assert len(answer.text) == 10 << 20
    with pytest.raises(CairnError) as caught:
        await a.bus.call(CountSheep(flock=flock, number=2, letters=20 << 20))
    assert caught.value.code == "bus.message-too-large"


async def test_ten_thousand_calls_at_a_time_share_few_messages(nodes: Nodes) -> None:
    a, b = [await nodes.start(node) for node in (A, B)]
    answers = await asyncio.gather(*(a.count(B, number) for number in range(10_000)))
    assert [answer.number for answer in answers] == list(range(10_000))
    assert (len(b.counted), once(b)) == (10_000, {1})
    assert a.measured("cairn_broker_messages_total") < a.measured("cairn_broker_envelopes_total") / 20
    assert a.measured("cairn_broker_dropped_total") == 0


async def test_broker_that_is_killed_and_started_again_under_load_loses_and_doubles_nothing(
    nodes: Nodes, server: RabbitServer
) -> None:
    a, b = [await nodes.start(node) for node in (A, B)]
    calls = [a.count(B, number, seconds=number % 30 / 10) for number in range(300)]
    await reached(lambda: len(b.counted) > 100, "many are at work")
    await asyncio.to_thread(server.kill)
    await reached(lambda: None not in (a.bus.trouble(), b.bus.trouble()), "both have noticed")
    calls += [a.count(B, number) for number in range(300, 600)]
    assert (await a.bus.call(CountSheep(flock=a.flock_of(A), number=-1))).by == A  # needs no broker
    await asyncio.to_thread(server.start)
    answers = await asyncio.wait_for(asyncio.gather(*calls), 120)
    assert [answer.number for answer in answers] == list(range(600))
    assert (len(b.counted), once(b)) == (600, {1})
    assert (a.bus.trouble(), b.bus.trouble()) == (None, None)


async def test_broker_that_hangs_is_noticed_and_nothing_is_lost(nodes: Nodes, server: RabbitServer) -> None:
    a, b = [await nodes.start(node) for node in (A, B)]
    calls = [a.count(B, number, seconds=1) for number in range(100)]
    await reached(lambda: len(b.counted) == 100, "all are at work")
    server.hold()
    try:
        calls += [a.count(B, number) for number in range(100, 200)]
        await reached(lambda: None not in (a.bus.trouble(), b.bus.trouble()), "both have noticed")
        assert "broker" in str(a.bus.trouble())
    finally:
        server.release()
    answers = await asyncio.wait_for(asyncio.gather(*calls), 120)
    assert [answer.number for answer in answers] == list(range(200))
    assert (len(b.counted), once(b)) == (200, {1})


async def test_messages_that_come_one_by_one_are_acknowledged_many_at_a_time(
    nodes: Nodes, server: RabbitServer
) -> None:
    a, b = [await nodes.start(node) for node in (A, B)]
    for number in range(PREFETCH * 4):  # more than the broker sends ahead
        await a.count(B, number)
    assert (len(b.counted), once(b)) == (PREFETCH * 4, {1})
    listed = await asyncio.to_thread(server.control, "list_queues", "--vhost", VHOST, "messages_unacknowledged")
    assert all(0 <= int(line) < PREFETCH for line in listed.split())
    assert len(listed.split()) == 2


async def test_queue_that_an_operator_deletes_is_missed_and_made_again(nodes: Nodes, server: RabbitServer) -> None:
    a, b = [await nodes.start(node) for node in (A, B)]
    await a.count(B, 1)
    found = await asyncio.to_thread(server.control, "list_queues", "--vhost", VHOST, "name")
    (queue,) = [name for name in found.split() if f".{B}." in name]
    server_side = (
        f'rabbit_amqqueue:with(rabbit_misc:r(<<"{VHOST}">>, queue, <<"{queue}">>), '
        'fun(Q) -> rabbit_amqqueue:delete(Q, false, false, <<"operator">>) end).'
    )
    await asyncio.to_thread(server.control, "eval", server_side)
    calls = [a.count(B, number) for number in range(2, 10)]
    answers = await asyncio.wait_for(asyncio.gather(*calls), 60)
    assert [answer.number for answer in answers] == list(range(2, 10))
    assert once(b) == {1}


async def test_nothing_is_left_at_the_broker_when_all_nodes_have_ended(nodes: Nodes, server: RabbitServer) -> None:
    for node in [await nodes.start(node) for node in NODES]:
        await node.bus.stop()
    found = [
        await asyncio.to_thread(server.control, f"list_{what}", "--vhost", VHOST, "name")
        for what in ("queues", "exchanges")
    ]
    assert "cairn." not in "".join(found)
    assert await asyncio.to_thread(server.control, "list_connections", "name") == ""


async def test_broker_that_is_not_there_at_the_start_is_found_later(
    nodes: Nodes, server: RabbitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cairn.kernel.bus.rabbit.START_SECONDS", 0.1)
    await asyncio.to_thread(server.kill)
    a, b = [await nodes.start(node) for node in (A, B)]
    assert "broker" in str(a.bus.trouble())
    assert (await a.count(A, 1)).by == A
    call = a.count(B, 2)
    await asyncio.to_thread(server.start)
    assert (await asyncio.wait_for(call, 120)).by == B
    assert b.counted == {2: 1}


async def _process(url: str, node: NodeId, joined: int) -> asyncio.subprocess.Process:
    """A node in a process of its own, which can be asked."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.broker.cloud", url, node, ",".join(NODES), str(joined),
        stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            while (line := await process.stdout.readline()) != b"ready\n":  # it also logs
                assert line, "it has ended"
    except BaseException:
        with suppress(ProcessLookupError):
            process.kill()
        raise
    return process


async def test_node_that_is_killed_is_gone_once_the_ring_says_so_and_served_again_when_it_is_back(
    nodes: Nodes, server: RabbitServer
) -> None:
    a = await nodes.start(A)
    former = await _process(server.url, B, 1)
    calls = [a.count(B, number, seconds=1000) for number in range(20)]
    try:
        assert (await a.count(B, 20)).by == B
    finally:
        former.kill()
        await former.wait()
    assert not any(call.done() for call in calls)
    a.ring.set_members(NODES, 2, restarted=[B])
    assert {await code_of(call) for call in calls} == {"bus.node-gone"}
    later = await _process(server.url, B, 2)
    try:
        assert (await a.count(B, 21)).by == B
    finally:
        later.kill()
        await later.wait()


async def test_node_that_is_held_for_a_while_answers_then(nodes: Nodes, server: RabbitServer) -> None:
    a = await nodes.start(A)
    process = await _process(server.url, B, 1)
    try:
        assert (await a.count(B, 1)).by == B
        process.send_signal(signal.SIGSTOP)
        calls = [a.count(B, number) for number in range(2, 50)]
        await reached(lambda: a.measured("cairn_broker_waiting_bytes") == 0, "the broker has them all")
        process.send_signal(signal.SIGCONT)
        answers = await asyncio.wait_for(asyncio.gather(*calls), 60)
        assert {answer.by for answer in answers} == {B}
    finally:
        process.kill()
        await process.wait()


async def test_tls_with_the_authority_that_the_address_names(
    nodes: Nodes, server: RabbitServer, certificates: Path
) -> None:
    address = f"amqps://{USER}:{PASSWORD}@127.0.0.1:{server.tls_port}/{VHOST}?cafile={certificates / 'ca.crt'}"
    broker = parse_broker(address)
    a, _ = [await nodes.start(node, broker=broker) for node in (A, B)]
    assert (await a.count(B, 1)).by == B


@pytest.fixture
def lines() -> io.StringIO:
    """What is logged."""
    stream = io.StringIO()
    log.configure(stream, "debug", "json")
    return stream


async def test_broker_of_another_authority_is_not_spoken_to(
    nodes: Nodes, server: RabbitServer, lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cairn.kernel.bus.rabbit.START_SECONDS", 1)
    broker = parse_broker(f"amqps://{USER}:{PASSWORD}@127.0.0.1:{server.tls_port}/{VHOST}")
    a = await nodes.start(A, broker=broker)
    await reached(lambda: "CERTIFICATE_VERIFY_FAILED" in lines.getvalue(), "the log says why")
    assert a.bus.trouble() is not None
    assert PASSWORD not in lines.getvalue()


async def test_wrong_password_is_told_in_the_log_and_never_shown(
    nodes: Nodes, lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cairn.kernel.bus.rabbit.START_SECONDS", 1)
    a = await nodes.start(A, broker=structs.replace(nodes.broker, password="wrong-one"))
    await reached(lambda: "ACCESS_REFUSED" in lines.getvalue(), "the log says why")
    assert a.bus.trouble() is not None
    assert "wrong-one" not in lines.getvalue() + str(a.bus.trouble()) + repr(a.transport)


async def test_messages_are_not_for_the_brokers_disk(nodes: Nodes, server: RabbitServer) -> None:
    a = await nodes.start(A)
    patient = server.url.replace("heartbeat=1", "heartbeat=60")
    process = await _process(patient, B, 1)
    try:
        process.send_signal(signal.SIGSTOP)  # so that its messages lie in the queue
        calls = [a.count(B, number) for number in range(20)]
        await reached(lambda: a.measured("cairn_broker_waiting_bytes") == 0, "the broker has them")
        words = ("list_queues", "--vhost", VHOST, "messages", "messages_persistent", "durable")
        rows = [line.split() for line in (await asyncio.to_thread(server.control, *words)).splitlines()]
        assert any(int(row[0]) > 0 for row in rows)
        assert {(row[1], row[2]) for row in rows} == {("0", "false")}
    finally:
        process.kill()
        await process.wait()
    for call in calls:
        call.cancel()


@pytest.mark.parametrize("prefix", ["cairn", "other"], ids=["same names", "names of its own"])
async def test_two_clouds_on_one_broker_do_not_hear_each_other(nodes: Nodes, prefix: str) -> None:
    strangers = [NodeId(letter * 32) for letter in "xy"]
    a, b = [await nodes.start(node, [A, B]) for node in (A, B)]
    x, y = [
        await nodes.start(node, strangers, broker=structs.replace(nodes.broker, prefix=prefix)) for node in strangers
    ]
    await a.bus.publish(SheepShorn(number=1))
    await x.bus.publish(SheepShorn(number=2))
    assert ((await a.count(B, 3)).by, (await x.count(y.node, 4)).by) == (B, y.node)
    await reached(lambda: b.heard[1] == 1 and y.heard[2] == 1, "each cloud hears its own")
    assert [set(node.heard) for node in (a, b, x, y)] == [{1}, {1}, {2}, {2}]


async def test_node_uses_the_broker_that_its_settings_name(server: RabbitServer, tmp_path: Path) -> None:
    node = await Node.build(load({"CAIRN_BROKER": server.url, "CAIRN_ADMIN_PASSWORD": "a password"}, data_dir=tmp_path))
    await node.start(serve=False)
    try:
        assert node.context.bus.trouble() is None
        assert b"cairn_broker_connected 1.0" in node.context.metrics.render()
        assert node.readiness().behind == []
    finally:
        await node.stop()
