from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import msgspec
import pytest
from tests.unit.gateway.world import (
    ADMIN,
    ALICE,
    AS_ADMIN,
    AS_ALICE,
    AS_BOB,
    BOB,
    SESSIONS,
    BoxMade,
    Sessions,
    World,
)

from cairn.gateway.auth import Caller
from cairn.kernel.limits import EVENT_STREAMS_OF_ACCOUNT
from cairn.kernel.store import Tx
from cairn.testing.clock import VirtualClock


class Stream:
    """An open stream of events, read as it comes."""

    def __init__(self, cloud: World, target: str, headers: dict[str, str]) -> None:
        self.text = ""
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self._gone = asyncio.Event()
        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "asgi": {"spec_version": "2.3"},
            "method": "GET",
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
        self.task = asyncio.ensure_future(cloud.gateway(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, object]:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: object) -> None:
        assert isinstance(message, dict)
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = dict(message["headers"])
        else:
            self.text += message["body"].decode()

    @property
    def names(self) -> list[str]:
        """What the events that came so far are about."""
        lines = [msgspec.json.decode(line[6:]) for line in self.text.splitlines() if line.startswith("data: ")]
        return [line["content"]["name"] for line in lines if "content" in line]

    async def leave(self) -> None:
        self._gone.set()
        await self.task


async def emit(cloud: World, name: str, account: str) -> None:
    def fn(tx: Tx) -> None:
        cloud.events.emit(tx, BoxMade(name=name), resource="r1", account=account, job="j1")

    await cloud.store.write(fn)


@pytest.fixture
async def told(cloud: World) -> AsyncIterator[World]:
    for name, account in (("first", ALICE), ("second", BOB)):
        await emit(cloud, name, account)
    yield cloud


async def test_stream_begins_with_what_happens_next(told: World, clock: VirtualClock) -> None:
    stream = Stream(told, "/v1/events", AS_ADMIN)
    await clock.settle()
    await emit(told, "third", ALICE)
    await clock.settle()

    assert stream.status == 200
    assert stream.headers[b"content-type"].startswith(b"text/event-stream")
    assert stream.names == ["third"]
    assert "\nid: 3\nevent: test-box.made\ndata: {" in stream.text
    await stream.leave()


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/v1/events?after=1", {}),
        ("/v1/events", {"Last-Event-ID": "1"}),
        ("/v1/events?after=0", {"Last-Event-ID": "1"}),
    ],
)
async def test_stream_goes_on_where_it_broke(
    told: World, clock: VirtualClock, target: str, headers: dict[str, str]
) -> None:
    stream = Stream(told, target, {**AS_ADMIN, **headers})
    await clock.settle()

    assert stream.names == ["second"]
    await stream.leave()


async def test_account_hears_of_its_own_calls_only(told: World, clock: VirtualClock) -> None:
    stream = Stream(told, "/v1/events?after=0", AS_ALICE)
    await clock.settle()

    assert stream.names == ["first"]
    await stream.leave()


async def test_names_choose_events(told: World, clock: VirtualClock) -> None:
    none = Stream(told, "/v1/events?after=0&names=vm.started,vm.stopped", AS_ADMIN)
    some = Stream(told, "/v1/events?after=0&names=vm.started,test-box.made", AS_ADMIN)
    await clock.settle()

    assert none.names == []
    assert some.names == ["first", "second"]
    await none.leave()
    await some.leave()


async def test_silence_is_filled_with_comments(told: World, clock: VirtualClock) -> None:
    stream = Stream(told, "/v1/events", AS_ADMIN)
    await clock.advance(31)

    assert stream.text.count(": nothing happened\n\n") == 2
    await stream.leave()


async def test_client_that_leaves_leaves_nothing_behind(told: World, clock: VirtualClock) -> None:
    stream = Stream(told, "/v1/events", AS_ADMIN)
    await clock.settle()

    await stream.leave()
    await clock.settle()

    assert len(told.gateway._waiting) == 0
    assert (len(told.events.feed), len(told.events.seats)) == (0, 0)


async def test_stream_ends_when_the_node_stops(told: World, clock: VirtualClock) -> None:
    stream = Stream(told, "/v1/events", AS_ADMIN)
    await clock.settle()

    await told.gateway.stop()
    await clock.settle()

    assert stream.task.done()


@pytest.mark.parametrize("query", ["after=-1", "after=x", "befor=1"])
async def test_stream_that_is_asked_for_wrongly_is_refused(told: World, query: str) -> None:
    answer = await told.call("GET", f"/v1/events?{query}", None, AS_ADMIN)

    assert answer.status == 400
    assert answer.fields()


def closing(stream: Stream) -> dict[str, object]:
    """The last words of a stream that the node has closed."""
    kind, data = stream.text.strip().split("\n\n")[-1].splitlines()
    assert kind == "event: closed"
    return cast("dict[str, object]", msgspec.json.decode(data.removeprefix("data: ")))


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> dict[str, Caller]:
    """The sessions, to be ended by a test."""
    mine = dict(SESSIONS)

    async def session(_: Sessions, uuid: str) -> Caller | None:
        return mine.get(uuid)

    monkeypatch.setattr(Sessions, "session", session)
    return mine


async def test_stream_tells_nothing_any_more_once_its_session_has_ended(
    told: World, clock: VirtualClock, sessions: dict[str, Caller]
) -> None:
    stream = Stream(told, "/v1/events", AS_ALICE)
    await clock.settle()
    del sessions["2" * 32]
    await emit(told, "third", ALICE)
    await clock.settle()

    assert stream.names == []
    assert closing(stream)["code"] == "auth.expired"
    assert stream.task.done()
    assert (len(told.events.feed), len(told.events.seats)) == (0, 0)


async def test_silent_stream_ends_at_the_heartbeat_after_its_session(
    told: World, clock: VirtualClock, sessions: dict[str, Caller]
) -> None:
    stream = Stream(told, "/v1/events", AS_ADMIN)
    await clock.advance(16)
    del sessions["1" * 32]
    await clock.advance(14)

    assert stream.task.done()
    assert stream.text.count(": nothing happened") == 1
    assert closing(stream)["status"] == 401


async def test_stream_of_an_administrator_who_is_one_no_more_ends(
    told: World, clock: VirtualClock, sessions: dict[str, Caller]
) -> None:
    stream = Stream(told, "/v1/events", AS_ADMIN)
    await clock.settle()
    sessions["1" * 32] = Caller(ADMIN, False, "1" * 32)
    await emit(told, "third", BOB)
    await clock.settle()

    assert stream.names == []
    assert closing(stream)["code"] == "auth.rights-changed"


async def test_event_of_nobody_is_for_administrators(told: World, clock: VirtualClock) -> None:
    streams = [Stream(told, "/v1/events", who) for who in (AS_ADMIN, AS_ALICE)]
    await clock.settle()
    await told.store.write(lambda tx: told.events.emit(tx, BoxMade(name="third"), resource="r1"))
    await clock.settle()

    assert [stream.names for stream in streams] == [["third"], []]
    for stream in streams:
        await stream.leave()


async def test_account_has_so_many_streams_and_a_place_again_when_one_is_left(told: World, clock: VirtualClock) -> None:
    most = EVENT_STREAMS_OF_ACCOUNT.default
    streams = [Stream(told, "/v1/events", AS_ALICE) for _ in range(most)]
    await clock.settle()
    refused = await told.call("GET", "/v1/events", None, AS_ALICE)
    others = Stream(told, "/v1/events", AS_BOB)
    await clock.settle()
    await streams.pop().leave()
    again = Stream(told, "/v1/events", AS_ALICE)
    await clock.settle()

    assert (refused.status, refused.json()["code"]) == (409, "event.too-many-streams")
    assert (others.status, again.status) == (200, 200)
    for stream in [*streams, others, again]:
        await stream.leave()
    assert len(told.events.seats) == 0


async def test_stream_of_too_many_names_is_refused(told: World) -> None:
    names = ",".join(f"a.b{number}" for number in range(101))
    answer = await told.call("GET", f"/v1/events?names={names}", None, AS_ADMIN)

    assert (answer.status, answer.json()["code"]) == (400, "api.too-many-names")
    assert "names" in answer.fields()


async def test_stream_wants_a_session(told: World) -> None:
    assert (await told.call("GET", "/v1/events")).status == 401
