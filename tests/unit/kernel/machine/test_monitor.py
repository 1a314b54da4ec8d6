from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import cast

import pytest
from tests.unit.services.image_site import Site

from cairn.agents.protocol.storage import GetCapacity
from cairn.agents.protocol.wire import Pong
from cairn.kernel.agent.http import ExchangeTimeout
from cairn.kernel.error import CairnError
from cairn.kernel.machine.agents import MachineAgents
from cairn.kernel.machine.client import MachineClient
from cairn.kernel.machine.model import MachineStatus
from cairn.services.backup_storage.kind import BackupStorageKind
from cairn.services.backup_storage.model import BackupStorage
from cairn.services.backup_storage.provided import BackupStorageAgents


async def status(site: Site, storage: str) -> str:
    return (await site.storage(storage)).status.value


def play_many(site: Site) -> None:
    """The one simulated machine plays all of the test's: it cannot tell which it is."""
    site.world.hosts["backup"].anonymous = True


def pings(site: Site) -> int:
    """The pings that were sent so far."""
    return sum(url.endswith("/v1/ping") for _, url in site.transport.requests)


async def test_machines_are_pinged_at_once_and_then_once_an_interval(site: Site) -> None:
    await site.add_storage()
    before = pings(site)
    await site.watch()
    await site.clock.advance(0)
    assert pings(site) == before + 1
    await site.clock.advance(60)
    assert pings(site) == before + 2
    await site.clock.advance(600)
    assert pings(site) == before + 12


async def test_pings_of_many_machines_are_spread_over_the_interval(site: Site) -> None:
    play_many(site)
    for _ in range(40):
        await site.add_storage()
    await site.watch()
    await site.clock.advance(60)
    sent = []
    for _ in range(6):
        before = pings(site)
        await site.clock.advance(10)
        sent.append(pings(site) - before)
    assert sum(sent) == 40
    assert all(1 <= number <= 15 for number in sent), sent


async def test_three_failed_pings_make_it_disconnected_and_calls_fail_at_once(site: Site) -> None:
    storage = await site.add_storage()
    await site.watch()
    await site.clock.advance(60)
    site.kill()
    before = pings(site)

    for _ in range(63):
        await site.clock.advance(1)
        if pings(site) - before == 2:
            assert await status(site, storage) == "Connected"
    assert await status(site, storage) == "Disconnected"
    assert 3 <= pings(site) - before <= 4

    sent = len(site.transport.requests)
    agents = site.context.need(BackupStorageAgents)
    with pytest.raises(CairnError) as caught:
        await agents.call(storage, GetCapacity(path="/var/lib/cairn-backup"))
    assert caught.value.code == "backup-storage.disconnected"
    assert len(site.transport.requests) == sent


async def test_it_is_connected_again_when_it_is_back(site: Site) -> None:
    storage = await site.add_storage()
    await site.watch()
    site.kill()
    await site.clock.advance(63)
    site.mend()
    before = len(site.driver.deployed)
    await site.clock.advance(120)

    row = await site.storage(storage)
    assert (row.status.value, row.status_reason) == ("Connected", None)
    assert len(site.driver.deployed) == before, "its agent answers, and is as it should be"


async def test_while_it_stays_away_it_is_tried_with_growing_pauses_and_the_reason_is_kept(site: Site) -> None:
    storage = await site.add_storage()
    await site.watch()
    site.kill()
    await site.clock.advance(3600)

    tries = len(site.driver.deployed) - 1
    assert 4 <= tries <= 10
    row = await site.storage(storage)
    assert row.status.value == "Disconnected"
    assert "cannot be reached" in (row.status_reason or "")


async def test_one_failed_ping_is_nothing(site: Site) -> None:
    storage = await site.add_storage()
    await site.watch()
    site.transport.lose_answers = 2
    await site.clock.advance(70)

    assert await status(site, storage) == "Connected"
    assert len(site.driver.deployed) == 1


async def test_pings_are_counted_and_what_they_waited_is_told(site: Site) -> None:
    storage = await site.add_storage()
    await site.watch()
    await site.clock.advance(60)
    metrics = site.context.metrics
    answered = metrics.pings.value("backup-storage", "ok")
    site.kill()
    await site.clock.advance(63)

    assert await status(site, storage) == "Disconnected"
    assert answered == 2
    assert metrics.pings.value("backup-storage", "failed") >= 3
    assert sum(metrics.ping_wait.of("backup-storage").counts) == 3  # those that failed wait elsewhere


async def test_one_that_answers_again_is_connected_at_the_next_ping_however_long_it_was_away(site: Site) -> None:
    storage = await site.add_storage()
    await site.watch()
    site.kill()
    await site.clock.advance(5 * 3600)
    assert await status(site, storage) == "Disconnected"
    site.mend()
    await site.clock.advance(61)

    assert await status(site, storage) == "Connected"


async def test_one_that_answers_and_cannot_be_connected_is_tried_with_growing_pauses(site: Site) -> None:
    storage = await site.add_storage()
    await site.watch()
    site.agents.restart_agent("backup")
    site.agents.protocol += 1  # so that it has to be replaced
    site.driver.refuse = CairnError("deploy.failed", "The playbook failed.")
    await site.clock.advance(3600)

    assert 5 <= len(site.driver.deployed) - 1 <= 12
    row = await site.storage(storage)
    assert (row.status.value, row.status_reason) == ("Disconnected", "The playbook failed.")
    site.driver.refuse = None
    site.agents.protocol -= 1
    await site.clock.advance(700)
    assert await status(site, storage) == "Connected"


async def test_answer_whose_use_hangs_or_fails_delays_no_ping(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    play_many(site)
    stuck, odd = await site.add_storage(), await site.add_storage()
    used: list[str] = []

    async def pinged(
        self: BackupStorageKind, agents: MachineAgents[str], row: BackupStorage, pong: Pong, asked_at: datetime
    ) -> None:
        used.append(row.uuid)
        if row.uuid == stuck:
            await site.clock.sleep(1e6)
        raise KeyError("a word of a newer agent")

    monkeypatch.setattr(BackupStorageKind, "pinged", pinged)
    await site.watch()
    await site.clock.advance(60)
    before = pings(site)
    await site.clock.advance(600)

    assert pings(site) - before == 20
    assert (used.count(stuck), used.count(odd)) == (1, 12)
    assert site.context.metrics.loop_failures.value("backup storage monitor") == 12
    site.kill()
    await site.clock.advance(65)
    assert [await status(site, storage) for storage in (stuck, odd)] == ["Disconnected"] * 2


class SlowRoom:
    """Machines whose pings take so long, and are answered or not; all others are as they were."""

    def __init__(self, site: Site, storages: Sequence[str], seconds: float | None = None) -> None:
        self._site = site
        self._seconds = seconds  #: None: they never answer
        self._answer = site.transport.request
        self.pings = 0
        for number, storage in enumerate(storages):
            site.driver.hosts[storage] = f"dead-{number}" if seconds is None else "backup"
            cast("MachineClient", site.context.need(BackupStorageAgents)).forget(storage)
        site.transport.request = self.request  # type: ignore[method-assign]

    async def request(
        self, method: str, url: str, body: bytes | None, timeout_seconds: float, *, machine: str | None = None
    ) -> tuple[int, bytes]:
        if "/hosts/dead-" in url:
            await self._site.clock.sleep(timeout_seconds)
            raise ExchangeTimeout(f"{url} did not answer in time", sent=True)
        if self._seconds is not None and url.endswith("/ping"):
            self.pings += 1
            await self._site.clock.sleep(self._seconds)
        return await self._answer(method, url, body, timeout_seconds, machine=machine)


async def test_so_many_are_pinged_at_a_time_as_the_setting_says(site: Site) -> None:
    play_many(site)
    room = SlowRoom(site, [await site.add_storage() for _ in range(7)], seconds=0.125)
    await site.set("backupStorage", "ping.parallelismDegree", "3")
    await site.watch()
    await site.clock.advance(0)
    sent = [room.pings]
    for _ in range(2):
        await site.clock.advance(0.125)
        sent.append(room.pings)
    assert sent == [3, 6, 7]


async def test_machines_that_do_not_answer_take_no_place_of_those_that_do(site: Site) -> None:
    play_many(site)
    dead = [await site.add_storage() for _ in range(12)]
    alive = await site.add_storage()
    await site.set("backupStorage", "ping.parallelismDegree", "2")
    SlowRoom(site, dead)
    await site.watch()
    await site.clock.advance(900)
    assert not {await status(site, storage) for storage in dead} & {"Connected"}
    assert await status(site, alive) == "Connected"

    site.kill()
    await site.clock.advance(65)
    assert await status(site, alive) == "Disconnected"


async def test_an_agent_that_was_started_again_is_connected_anew(site: Site) -> None:
    storage = await site.add_storage()
    await site.watch()
    site.agents.restart_agent("backup")
    await site.clock.advance(61)

    assert (await site.storage(storage)).agent_boot == site.host().boot
    assert len(site.driver.deployed) == 1, "its agent answers, and is as it should be"


async def test_its_free_space_follows_what_is_on_it(site: Site) -> None:
    storage = await site.add_storage()
    await site.watch()
    await site.add_image(storage)
    await site.clock.advance(61)

    assert (await site.storage(storage)).available_capacity == site.host().available_bytes


async def test_a_call_that_finds_it_unreachable_has_it_looked_at_at_once(site: Site) -> None:
    storage = await site.add_storage()
    await site.watch()
    site.kill()
    agents = site.context.need(BackupStorageAgents)
    with pytest.raises(CairnError, match="cannot be reached"):
        await site.clock.run(agents.call(storage, GetCapacity(path="/x"), timeout_seconds=20))
    await site.clock.advance(5)

    assert await status(site, storage) == "Disconnected"


async def test_the_interval_can_be_changed_and_holds_at_once(site: Site) -> None:
    storage = await site.add_storage()
    await site.watch()
    await site.set("backupStorage", "ping.interval", "5")
    await site.clock.settle()
    site.kill()
    await site.clock.advance(9)

    assert await status(site, storage) == "Disconnected"


async def test_one_that_was_lost_before_the_node_started_is_known_as_lost_and_left_alone_when_told_so(
    site: Site,
) -> None:
    storage = await site.add_storage()
    await site.set("backupStorage", "connection.autoReconnectOnError", "false")
    lost = MachineStatus.DISCONNECTED
    await site.context.store.write(lambda tx: tx.update(BackupStorage, storage, status=lost, status_reason="a fire"))
    await site.watch()
    await site.clock.advance(1000)

    agents = site.context.need(BackupStorageAgents)
    with pytest.raises(CairnError, match=r"is not connected") as caught:
        await agents.call(storage, GetCapacity(path="/x"))
    assert "a fire" in str(caught.value.operator)
    assert await status(site, storage) == "Disconnected"
