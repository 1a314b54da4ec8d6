from __future__ import annotations

from typing import cast

import pytest
from tests.unit.services.image_site import Site

from cairn.kernel.api import StateEvent
from cairn.kernel.error import CairnError
from cairn.kernel.machine.model import MachineStatus
from cairn.kernel.store.store import Tx
from cairn.services.backup_storage.messages import ChangeBackupStorageState
from cairn.services.backup_storage.model import BackupStorage
from cairn.services.image.messages import (
    ApiCreateFromImage,
    ChangeImageState,
    DeleteImage,
    ImageSpec,
    MediaType,
    UpdateImage,
)
from cairn.services.image.model import Image, ImageStatus
from cairn.services.image.steps.choose import ChooseImage, ChooseImageInput, ChooseImageOutput


async def choose(site: Site, image: str) -> ImageSpec:
    made = await site.transact("image.choose", ChooseImageInput(asked=ApiCreateFromImage(image_uuid=image)))
    return cast("ChooseImageOutput", made).image


async def refused(site: Site, image: str, code: str) -> CairnError:
    with pytest.raises(CairnError) as caught:
        await choose(site, image)
    assert caught.value.code == code
    return caught.value


async def test_it_tells_all_that_a_vm_needs(site: Site) -> None:
    uuid = await site.add_image(await site.add_storage(), name="web")

    image = await choose(site, uuid)

    row = await site.row(Image, uuid)
    assert (image.uuid, image.name, image.format, image.platform) == (uuid, "web", "qcow2", "Linux")
    assert (image.size_bytes, image.actual_size_bytes, image.sha256) == (row.size, row.actual_size, row.sha256)


async def test_with_no_backup_storage_that_can_be_used_each_ones_reason_is_told(site: Site) -> None:
    first, second = await site.add_storage("a"), await site.add_storage("b", "sim-0001")
    uuid = await site.add_image(first, second, name="web")
    await site.call(ChangeBackupStorageState(uuid=first, state_event=StateEvent.DISABLE))
    lost = MachineStatus.DISCONNECTED
    await site.context.store.write(lambda tx: tx.update(BackupStorage, second, status=lost))

    error = await refused(site, uuid, "image.no-backup-storage")

    assert "image web" in error.message
    assert "a is Disabled and Connected" in error.message
    assert "b is Enabled and Disconnected" in error.message


async def test_an_image_that_is_not_ready_disabled_or_no_system_is_refused(site: Site) -> None:
    uuid = await site.add_image(await site.add_storage())
    await site.call(UpdateImage(uuid=uuid, media_type=MediaType.ISO))
    await refused(site, uuid, "image.wrong-media-type")
    await site.call(ChangeImageState(uuid=uuid, state_event=StateEvent.DISABLE))
    await refused(site, uuid, "image.disabled")
    await site.call(DeleteImage(uuid=uuid))
    assert "Recover it" in (await refused(site, uuid, "image.not-ready")).message
    await site.context.store.write(lambda tx: tx.update(Image, uuid, status=ImageStatus.DOWNLOADING))
    assert "Wait until" in (await refused(site, uuid, "image.not-ready")).message
    await refused(site, "f" * 32, "image.not-found")


async def test_it_takes_a_few_reads_by_key(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    uuid = await site.add_image(await site.add_storage())
    reads: list[str] = []
    for name in ("get", "find", "rows", "count"):
        inner = getattr(Tx, name)

        def counted(tx: Tx, *given: object, _inner: object = inner, _name: str = name, **more: object) -> object:
            reads.append(_name)
            return _inner(tx, *given, **more)  # type: ignore[operator]

        monkeypatch.setattr(Tx, name, counted)
    step = cast("ChooseImage", site.context.flows.book.step("image.choose"))
    await site.context.store.read(lambda tx: step.do(tx, ChooseImageInput(asked=ApiCreateFromImage(image_uuid=uuid))))

    assert reads == ["get", "get", "rows", "find"]
