from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from cairn.kernel.recent import Recent
from cairn.testing.clock import VirtualClock


class Source:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.rows = {"a": 1, "b": 2}
        self.reads: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.recent = Recent(self.clock, self.read)

    async def read(self, keys: list[str]) -> Mapping[str, int]:
        self.reads.append(keys)
        found = {key: self.rows[key] for key in keys if key in self.rows}
        await self.gate.wait()
        return found


async def test_what_is_known_is_not_read_again_and_what_is_missing_is_read_together() -> None:
    source = Source()
    assert await source.recent.get(["a"]) == {"a": 1}
    assert await source.recent.get(["a", "b", "none"]) == {"a": 1, "b": 2}
    assert await source.recent.get(["b", "none", "a"]) == {"a": 1, "b": 2}
    assert source.reads == [["a"], ["b", "none"]]


async def test_a_change_elsewhere_is_seen_after_a_while() -> None:
    source = Source()
    await source.recent.get(["a"])
    source.rows["a"] = 7
    await source.clock.advance(1.9)
    assert await source.recent.get(["a"]) == {"a": 1}
    await source.clock.advance(0.1)
    assert await source.recent.get(["a"]) == {"a": 7}


async def test_a_change_that_is_told_is_seen_at_once() -> None:
    source = Source()
    await source.recent.get(["a", "b"])
    source.rows["a"] = 7
    source.recent.drop("a")
    assert await source.recent.get(["a", "b"]) == {"a": 7, "b": 2}
    assert source.reads[1:] == [["a"]]


async def test_many_who_ask_at_once_cause_one_read() -> None:
    source = Source()
    assert await asyncio.gather(*(source.recent.get(["a"]) for _ in range(50))) == [{"a": 1}] * 50
    assert source.reads == [["a"]]


async def test_a_read_overtaken_by_a_change_is_not_kept() -> None:
    source = Source()
    source.gate.clear()
    early = asyncio.ensure_future(source.recent.get(["a"]))
    await asyncio.sleep(0)
    source.rows["a"] = 7
    source.recent.drop("a")
    late = asyncio.ensure_future(source.recent.get(["a"]))
    source.gate.set()
    assert (await early, await late) == ({"a": 1}, {"a": 7})


async def test_a_read_that_fails_or_is_cancelled_holds_up_nobody() -> None:
    source = Source()
    source.gate.clear()
    first = asyncio.ensure_future(source.recent.get(["a"]))
    second = asyncio.ensure_future(source.recent.get(["a"]))
    await asyncio.sleep(0)
    first.cancel()
    source.gate.set()
    assert await second == {"a": 1}
    with pytest.raises(asyncio.CancelledError):
        await first
