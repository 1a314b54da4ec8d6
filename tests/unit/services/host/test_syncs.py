from __future__ import annotations

import asyncio

import pytest

from cairn.agents.protocol.codes import STALE_EPOCH
from cairn.kernel.error import CairnError
from cairn.kernel.event import EventRow
from cairn.services.host.model import HostFault
from cairn.services.host.provided import HostSyncs
from cairn.services.host.syncs import Syncs
from cairn.services.ids import HostId
from cairn.testing.cloud import ORIGIN, Cloud


class Part:
    """A part of hosts that fails as long as it is told to."""

    def __init__(self, cloud: Cloud) -> None:
        found = cloud.node.context.need(HostSyncs)
        assert isinstance(found, Syncs)
        self.syncs = found
        self.error: Exception | None = None
        self.tries = 0
        self.gate: asyncio.Event | None = None
        found.register("part", self.work)

    async def work(self, host: HostId, subject: str) -> None:
        self.tries += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error


def faults(cloud: Cloud) -> list[str]:
    return cloud.read_now(lambda tx: [row.reason for row in tx.find(HostFault)])


async def test_a_failure_is_written_down_told_once_tried_again_and_forgotten() -> None:
    async with Cloud.open(hosts=1) as cloud:
        host = HostId((await cloud.make_site())["host-1"])
        part = Part(cloud)
        for error in (CairnError("part.broken", "It is broken."), ValueError("a bug"), ValueError("a bug")):
            part.error = error
            assert not await part.syncs.sync(host, "part", "one")
        assert faults(cloud) == ["ValueError('a bug')"]
        assert part.syncs.failing(host, "part", "one") == "ValueError('a bug')"
        told = cloud.read_now(lambda tx: tx.find(EventRow, name="host.sync-failed"))
        assert [row.content["reason"] for row in told] == ["It is broken. [part.broken]"]

        part.error = None
        await cloud.quiet(61)

        assert (faults(cloud), part.tries) == ([], 4)
        assert part.syncs.failing(host, "part", "one") is None
        await cloud.quiet(600)
        assert part.tries == 4


async def test_interval_between_two_tries_is_changed_at_once() -> None:
    async with Cloud.open(hosts=1) as cloud:
        host = HostId((await cloud.make_site())["host-1"])
        await cloud.call("UpdateGlobalConfig", category="host", name="sync.retryInterval", value="3600")
        part = Part(cloud)
        part.error = ValueError("a bug")
        assert not await part.syncs.sync(host, "part", "one")

        await cloud.call("UpdateGlobalConfig", category="host", name="sync.retryInterval", value="2")
        await cloud.quiet(5)

        assert part.tries == 4


async def test_a_part_that_hangs_is_not_tried_a_second_time_and_holds_up_no_other() -> None:
    async with Cloud.open(hosts=1) as cloud:
        host = HostId((await cloud.make_site())["host-1"])
        part = Part(cloud)
        part.gate = asyncio.Event()
        part.syncs.later(host, "part", "hangs", reason="it should be looked at")
        await cloud.quiet(200)
        assert part.tries == 1
        part.gate = None
        part.syncs.later(host, "part", "goes", reason="it should be looked at")
        await cloud.quiet(61)
        assert (part.tries, part.syncs.failing(host, "part", "goes")) == (2, None)


async def test_a_lost_host_is_left_alone_and_one_that_is_gone_is_forgotten() -> None:
    async with Cloud.open(hosts=1) as cloud:
        host = HostId((await cloud.make_site())["host-1"])
        part = Part(cloud)
        cloud.transport.dead.add(f"{ORIGIN}/hosts/sim-0001")
        await cloud.quiet(200)
        part.syncs.later(host, "part", reason="it should be looked at")
        await cloud.quiet(200)
        assert part.tries == 0
        await cloud.call("DeleteHost", uuid=host, delete_mode="Enforcing")
        await cloud.quiet(61)
        assert (part.tries, part.syncs.failing(host, "part")) == (0, None)


async def test_what_is_not_in_the_cloud_gets_no_row() -> None:
    async with Cloud.open(hosts=1) as cloud:
        await cloud.make_site()
        part = Part(cloud)
        part.error = CairnError("part.broken", "It is broken.")
        assert not await part.syncs.sync(HostId("f" * 32), "part")
        assert faults(cloud) == []


async def test_more_parts_than_one_statement_takes_are_looked_at() -> None:
    async with Cloud.open(hosts=1) as cloud:
        host = HostId((await cloud.make_site())["host-1"])
        part = Part(cloud)
        for number in range(17_000):
            part.syncs.later(HostId(f"gone-{number}"), "part", reason="there is one")
        part.syncs.later(host, "part", reason="there is one")

        await part.syncs.round()
        await cloud.quiet(1)

        assert part.tries == 1
        assert part.syncs.failing(HostId("gone-1"), "part") is None


async def test_work_that_was_looked_up_already_is_done_instead_and_its_failure_noted() -> None:
    async with Cloud.open(hosts=1) as cloud:
        host = HostId((await cloud.make_site())["host-1"])
        part = Part(cloud)

        async def fail() -> None:
            raise ValueError("this time")

        assert not await part.syncs.sync(host, "part", work=fail)

        assert (part.tries, faults(cloud)) == (0, ["ValueError('this time')"])
        await cloud.quiet(61)
        assert (part.tries, faults(cloud)) == (1, [])


async def test_what_another_node_has_noted_is_known_here_and_what_it_has_put_right_is_not_any_more() -> None:
    async with Cloud.open(hosts=1) as cloud:
        host = HostId((await cloud.make_site())["host-1"])
        syncs = Part(cloud).syncs
        syncs.later(host, "part", "mine", reason="not tried yet")
        fault = HostFault(
            uuid="f" * 32, host_uuid=host, kind="part", subject="one", reason="broken", create_date=cloud.clock.now()
        )
        await cloud.store.write(lambda tx: tx.insert(fault))
        await syncs.reread()
        assert syncs.failing(host, "part", "one") == "broken"
        await cloud.store.write(lambda tx: tx.delete(HostFault, fault.uuid))
        await syncs.reread()

        assert syncs.failing(host, "part", "one") is None
        assert syncs.failing(host, "part", "mine") == "not tried yet"


async def test_an_asker_that_has_lost_its_work_is_no_fault_of_the_host() -> None:
    async with Cloud.open(hosts=1) as cloud:
        host = HostId((await cloud.make_site())["host-1"])
        part = Part(cloud)
        part.error = CairnError(STALE_EPOCH, "Another node has taken this over.")

        with pytest.raises(CairnError, match=STALE_EPOCH):
            await part.syncs.sync(host, "part", "one")

        assert faults(cloud) == []
        assert part.syncs.failing(host, "part", "one") is None


async def test_what_failed_here_is_over_once_the_host_s_new_node_has_put_it_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with Cloud.open(hosts=1) as cloud:
        host = HostId((await cloud.make_site())["host-1"])
        part = Part(cloud)
        part.error = ValueError("broken")
        assert not await part.syncs.sync(host, "part", "one")
        part.syncs.later(host, "part", "two", reason="not tried yet")
        monkeypatch.setattr(cloud.node.context.bus, "owns", lambda key: False)

        await cloud.store.write(lambda tx: tx.delete_where(HostFault))
        await part.syncs.reread()

        assert [part.syncs.failing(host, "part", subject) for subject in ("one", "two")] == [None, None]
