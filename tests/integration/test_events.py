"""The stream of events, as a client reads it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import cast

import msgspec

from cairn.testing.cloud import Cloud, Json


class Stream:
    """An open stream of ``GET /v1/events``."""

    def __init__(self) -> None:
        self.text = b""

    async def send(self, message: Mapping[str, object]) -> None:
        """What the gateway sends."""
        self.text += cast("bytes", message.get("body", b""))

    @property
    def events(self) -> list[Json]:
        """Those that came so far."""
        lines = [line for line in self.text.decode().splitlines() if line.startswith("data: ")]
        return [cast("Json", msgspec.json.decode(line.removeprefix("data: "))) for line in lines]


@asynccontextmanager
async def listening(cloud: Cloud, query: str, session: str) -> AsyncIterator[Stream]:
    """Read the stream in the background."""
    stream = Stream()
    headers = {"authorization": f"OAuth {session}"}
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/v1/events",
        "raw_path": b"/v1/events",
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8080),
        "scheme": "http",
        "http_version": "1.1",
        "root_path": "",
        "state": {},
    }

    async def receive() -> dict[str, object]:
        await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    task = asyncio.get_running_loop().create_task(cloud.node.gateway(scope, receive, stream.send))
    await cloud.quiet()
    try:
        yield stream
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_stream_tells_a_vms_life_in_order(cloud: Cloud) -> None:
    session = cloud.save().session
    async with listening(cloud, "names=vm.state-changed", session) as stream:
        vm = await cloud.create_vm("web")
        await cloud.call("StopVmInstance", uuid=vm["uuid"])
        await cloud.quiet(1)
        states = [cast("Json", event["content"])["state"] for event in stream.events]
        assert states == ["Running", "Stopping", "Stopped"]
        assert {event["resourceUuid"] for event in stream.events} == {vm["uuid"]}
        numbers = [cast("int", event["sequence"]) for event in stream.events]
        assert numbers == sorted(numbers)


async def test_who_comes_back_misses_nothing(cloud: Cloud) -> None:
    session = cloud.save().session
    async with listening(cloud, "names=vm.state-changed", session) as stream:
        vm = await cloud.create_vm("web")
        await cloud.quiet(1)
        last = stream.events[-1]["sequence"]
    await cloud.call("StopVmInstance", uuid=vm["uuid"])
    async with listening(cloud, f"names=vm.state-changed&after={last}", session) as stream:
        await cloud.quiet(1)
        assert [cast("Json", event["content"])["state"] for event in stream.events] == ["Stopping", "Stopped"]


async def test_event_of_what_failed_is_never_told(cloud: Cloud) -> None:
    session = cloud.save().session
    async with listening(cloud, "names=vm.state-changed", session) as stream:
        status, answer = await cloud.send("CreateVmInstance", **cloud.vm_fields("big", memory_size=900 << 30))
        assert status == 202
        await cloud.request("GET", f"/v1/api-jobs/{answer['uuid']}?wait=60")
        await cloud.quiet(1)
        assert stream.events == []
