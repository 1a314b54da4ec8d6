from __future__ import annotations

import asyncio

import pytest
from tests.unit.services.image_site import Site

from cairn.agents.protocol.storage import GetCapacity
from cairn.kernel.error import CairnError
from cairn.kernel.machine.machines import Machines
from cairn.services.backup_storage.messages import DeleteBackupStorage, ReconnectBackupStorage
from cairn.services.backup_storage.provided import BackupStorageAgents
from cairn.services.ids import BackupStorageId
from cairn.simulator.dials import Dial

COMMAND = GetCapacity(path="/var/lib/cairn-backup")


async def test_no_more_commands_run_at_a_time_than_the_setting_allows_and_a_change_holds_at_once(site: Site) -> None:
    storage = await site.add_storage()
    agents = site.context.need(BackupStorageAgents)
    await site.set("backupStorage", "parallelism", "2")
    site.agents.dials.turn(Dial(command=COMMAND.name, delay_seconds=2.0))
    sent = len(site.transport.requests)
    calls = asyncio.gather(*(agents.call(storage, COMMAND) for _ in range(6)))
    await site.clock.settle()
    at_first = len(site.transport.requests) - sent
    await site.set("backupStorage", "parallelism", "5")
    await site.clock.settle()
    then = len(site.transport.requests) - sent
    await site.clock.run(calls)

    assert (at_first, then) == (2, 5)


async def test_calls_that_leave_the_machine_idle_hold_up_no_others(site: Site) -> None:
    storage = await site.add_storage()
    agents = site.context.need(BackupStorageAgents)
    await site.set("backupStorage", "parallelism", "1")
    site.agents.dials.turn(Dial(command=COMMAND.name, delay_seconds=2.0))
    sent = len(site.transport.requests)
    calls = asyncio.gather(
        *(agents.call(storage, COMMAND, idle=True) for _ in range(12)), agents.call(storage, COMMAND)
    )
    await site.clock.settle()
    at_first = len(site.transport.requests) - sent
    await site.set("backupStorage", "parallelism", "2")
    await site.clock.settle()
    then = len(site.transport.requests) - sent
    await site.clock.run(calls)

    assert (at_first, then) == (10 + 1, 12 + 1)


async def test_an_address_is_looked_up_again_when_it_was_forgotten(site: Site) -> None:
    storage = await site.add_storage()
    agents = site.context.need(Machines).of(ReconnectBackupStorage(uuid=storage))
    site.driver.hosts[storage] = "sim-0001"
    await agents.call(storage, COMMAND)
    before = site.transport.requests[-1][1]
    agents.forget(storage)
    await agents.call(storage, COMMAND)

    assert "/hosts/backup/" in before
    assert "/hosts/sim-0001/" in site.transport.requests[-1][1]


async def test_one_that_is_not_there_cannot_be_called(site: Site) -> None:
    agents = site.context.need(BackupStorageAgents)
    with pytest.raises(CairnError) as caught:
        await agents.call(BackupStorageId("f" * 32), COMMAND)

    assert caught.value.code == "backup-storage.not-found"


async def test_one_that_is_gone_is_known_as_lost_no_more(site: Site) -> None:
    storage = await site.add_storage()
    client = site.context.need(Machines).of(ReconnectBackupStorage(uuid=storage))
    client.lost(storage, "a fire")
    await site.call(DeleteBackupStorage(uuid=storage))

    with pytest.raises(CairnError) as caught:
        await client.call(storage, COMMAND)

    assert caught.value.code == "backup-storage.not-found"
