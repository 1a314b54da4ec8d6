from __future__ import annotations

from tests.unit.services.image_site import Site

from cairn.services.backup_storage.provided import BackupStorageAgents
from cairn.services.ids import BackupStorageId
from cairn.services.image.copies import ImageCopy, ImageFiles, path_of
from cairn.services.image.messages import ImageFormat


def test_each_image_has_a_folder_of_its_own() -> None:
    assert path_of("/srv/store/", "a" * 32, ImageFormat.RAW) == f"/srv/store/images/{'a' * 32}/image.raw"


async def test_files_are_removed_twice_and_what_cannot_be_removed_is_told(site: Site) -> None:
    there, lost = await site.add_storage("a"), await site.add_storage("b", "sim-0001")
    image = await site.add_image(there, lost)
    path = path_of("/var/lib/cairn-backup", image, ImageFormat.QCOW2)
    copies = [
        ImageCopy(backup_storage_uuid=BackupStorageId(uuid), backup_storage_name=name, path=path)
        for uuid, name in ((there, "a"), (lost, "b"), ("f" * 32, "gone"))
    ]
    files = ImageFiles(site.context.need(BackupStorageAgents), site.context.config)
    site.kill("sim-0001")

    for _ in range(2):
        failed = await site.clock.run(files.remove(copies))
        assert [(copy.backup_storage_name, error.code) for copy, error in failed] == [("b", "agent.unreachable")]
    assert site.host().images == {}
