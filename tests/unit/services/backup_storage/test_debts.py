from __future__ import annotations

from tests.unit.services.image_site import Site

from cairn.agents.protocol import codes
from cairn.kernel.api import DeleteMode
from cairn.kernel.store.store import Tx
from cairn.services.backup_storage.messages import (
    DeleteBackupStorage,
    DeleteBackupStorageDebt,
    ReconnectBackupStorage,
)
from cairn.services.backup_storage.model import BackupStorage, BackupStorageDebt
from cairn.services.backup_storage.provided import BackupStorageDebts
from cairn.services.ids import BackupStorageId
from cairn.simulator.dials import Dial

FOLDER = "/var/lib/cairn-backup"


async def owe(site: Site, storage: str, *paths: str) -> None:
    debts = site.context.need(BackupStorageDebts)

    def fn(tx: Tx) -> None:
        for path in paths:
            debts.owe(tx, BackupStorageId(storage), path, "It did not answer.")

    await site.context.store.write(fn)


async def owed(site: Site) -> list[tuple[str, str]]:
    return sorted((row.backup_storage_uuid, row.path) for row in await site.rows(BackupStorageDebt))


async def test_a_file_is_owed_once_and_by_backup_storage_that_there_is(site: Site) -> None:
    storage = await site.add_storage("shelf")
    for _ in range(2):
        await owe(site, storage, f"{FOLDER}/a", f"{FOLDER}/b")
    await owe(site, "f" * 32, f"{FOLDER}/a")

    assert await owed(site) == [(storage, f"{FOLDER}/a"), (storage, f"{FOLDER}/b")]
    row = (await site.rows(BackupStorageDebt))[0]
    machine = (await site.storage(storage)).machine_identity
    assert machine is not None
    assert (row.backup_storage_name, row.machine_identity, row.reason) == ("shelf", machine, "It did not answer.")


async def test_what_cannot_be_removed_stays_with_the_reason_and_the_rest_goes(site: Site) -> None:
    storage = await site.add_storage()
    await owe(site, storage, "relative", f"{FOLDER}/b")
    await site.watch()

    (row,) = await site.rows(BackupStorageDebt)
    assert row.path == "relative"
    assert codes.PATH_REFUSED in row.reason


async def test_backup_storage_that_hangs_holds_up_no_other_and_is_asked_again(site: Site) -> None:
    slow, quick = await site.add_storage("a", "sim-0001"), await site.add_storage("b", "sim-0002")
    for storage in (slow, quick):
        await owe(site, storage, f"{FOLDER}/x", f"{FOLDER}/y")
    site.agents.dials.turn(Dial(host="sim-0001", command="storage.delete-file", delay_seconds=4000.0))
    await site.watch()
    assert {storage for storage, _ in await owed(site)} == {slow}
    site.agents.dials.clear()
    await site.clock.advance(1000)
    assert await owed(site) == []


async def test_a_machine_owes_what_it_owed_as_another_backup_storage(site: Site) -> None:
    first, other = await site.add_storage("a"), await site.add_storage("b", "sim-0001")
    await owe(site, first, f"{FOLDER}/x")
    await owe(site, other, f"{FOLDER}/x")
    site.kill()
    await site.call(DeleteBackupStorage(uuid=first, delete_mode=DeleteMode.ENFORCING))
    site.mend()

    again = await site.add_storage("again")

    assert await owed(site) == sorted([(again, f"{FOLDER}/x"), (other, f"{FOLDER}/x")])
    await site.watch()
    assert await owed(site) == []


async def test_what_is_owed_is_collected_behind_a_connect(site: Site) -> None:
    storage = await site.add_storage()
    await site.watch()
    await owe(site, storage, f"{FOLDER}/x")
    await site.call(ReconnectBackupStorage(uuid=storage))
    await site.clock.settle()
    assert await owed(site) == []
    assert len(await site.rows(BackupStorage)) == 1


async def test_a_debt_can_be_forgotten_twice(site: Site) -> None:
    await owe(site, await site.add_storage(), f"{FOLDER}/x")
    (debt,) = await site.rows(BackupStorageDebt)
    for _ in range(2):
        await site.call(DeleteBackupStorageDebt(uuid=debt.uuid))
    assert await owed(site) == []
