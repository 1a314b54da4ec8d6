from __future__ import annotations

import pytest
from tests.unit.services.image_site import Site

from cairn.agents.protocol.storage import GetCapacity
from cairn.kernel.error import CairnError
from cairn.kernel.machine.model import MachineStatus
from cairn.services.backup_storage.model import BackupStorage
from cairn.services.backup_storage.provided import BackupStorageAgents


async def status(site: Site, storage: str) -> str:
    return (await site.storage(storage)).status.value


async def test_three_failed_pings_make_it_disconnected_and_calls_fail_at_once(site: Site) -> None:
    storage = await site.add_storage()
    await site.watch()
    site.kill()
    before = len(site.transport.requests)

    await site.clock.advance(60)
    assert await status(site, storage) == "Connected"
    await site.clock.advance(3)
    assert await status(site, storage) == "Disconnected"
    assert len(site.transport.requests) - before == 3

    agents = site.context.need(BackupStorageAgents)
    with pytest.raises(CairnError) as caught:
        await agents.call(storage, GetCapacity(path="/var/lib/cairn-backup"))
    assert caught.value.code == "backup-storage.disconnected"
    assert len(site.transport.requests) - before == 3


async def test_it_is_connected_again_when_it_is_back(site: Site) -> None:
    storage = await site.add_storage()
    await site.watch()
    site.kill()
    await site.clock.advance(63)
    site.mend()
    await site.clock.advance(120)

    row = await site.storage(storage)
    assert (row.status.value, row.status_reason) == ("Connected", None)
    assert len(site.driver.deployed) == 1, "its agent answers, and is as it should be"


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
    with pytest.raises(CairnError, match=r"not connected \(a fire\)"):
        await agents.call(storage, GetCapacity(path="/x"))
    assert await status(site, storage) == "Disconnected"
