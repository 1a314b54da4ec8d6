from __future__ import annotations

import pytest
from tests.unit.services.image_site import Site

from cairn.agents.protocol.storage import DeleteFile
from cairn.agents.protocol.wire import Done
from cairn.services.backup_storage.messages import DeleteBackupStorage
from cairn.services.backup_storage.model import BackupStorageDebt
from cairn.services.backup_storage.provided import BackupStorageAgents, BackupStorageDebts
from cairn.services.ids import BackupStorageId
from cairn.services.image.copies import ImageCopy, ImageFiles, path_of
from cairn.services.image.messages import ImageFormat
from cairn.services.image.model import ImageBackupStorageRef
from cairn.simulator.commands import COMMANDS
from cairn.simulator.world import SimHost, World


def files_of(site: Site) -> ImageFiles:
    context = site.context
    return ImageFiles(
        context.store, context.need(BackupStorageAgents), context.need(BackupStorageDebts), context.config
    )


async def copy_of(site: Site, image: str, storage: str, name: str = "") -> ImageCopy:
    (ref,) = await site.rows(ImageBackupStorageRef, image_uuid=image, backup_storage_uuid=storage)
    return ImageCopy(backup_storage_uuid=BackupStorageId(storage), backup_storage_name=name, path=ref.install_path)


def test_each_copy_has_a_path_that_no_other_ever_has() -> None:
    path = path_of("/srv/store/", "a" * 32, "c" * 32, ImageFormat.RAW)
    assert path == f"/srv/store/images/{'a' * 32}/{'c' * 32}.raw"


async def test_files_are_removed_twice_and_what_cannot_be_removed_is_owed_once(site: Site) -> None:
    there, lost = await site.add_storage("a"), await site.add_storage("b", "sim-0001")
    image = await site.add_image(there, lost)
    copies = [await copy_of(site, image, there, "a"), await copy_of(site, image, lost, "b")]
    gone = ImageCopy(backup_storage_uuid=BackupStorageId("f" * 32), backup_storage_name="gone", path="/x")
    site.kill("sim-0001")

    for _ in range(2):
        await site.clock.run(files_of(site).remove([*copies, gone]))

    debts = await site.rows(BackupStorageDebt)
    assert [(debt.backup_storage_uuid, debt.path) for debt in debts] == [(lost, copies[1].path)]
    assert "did not answer" in debts[0].reason or "reach" in debts[0].reason
    assert site.host().images == {}


async def test_a_backup_storage_that_is_out_of_reach_is_not_asked_for_each_of_its_files(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = await site.add_storage("b", "sim-0001")
    copies = [
        ImageCopy(backup_storage_uuid=storage, backup_storage_name="b", path=f"/var/lib/cairn-backup/{number}")
        for number in range(100)
    ]
    asked: list[str] = []

    def note(world: World, host: SimHost, command: DeleteFile) -> Done:
        asked.append(command.path)
        return Done()

    monkeypatch.setitem(COMMANDS, DeleteFile.name, (COMMANDS[DeleteFile.name][0], note))
    site.kill("sim-0001")
    before = site.clock.now()

    left = await site.clock.run(files_of(site).remove_what_can_be(copies))

    assert ([one.copy for one in left], asked) == (copies, [])
    assert (site.clock.now() - before).total_seconds() < 1000


async def test_copies_keep_a_backup_storage_and_it_is_said_how_they_would_go(site: Site) -> None:
    storage = await site.add_storage()
    await site.add_image(storage)
    error = await site.refused(DeleteBackupStorage(uuid=storage), "backup-storage.in-use")
    assert "1 image is on it" in error.message
    assert "deleteMode=Enforcing" in error.message
