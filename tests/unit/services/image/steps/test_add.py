from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace
from tests.unit.services.image_site import GOOD, Site

from cairn.agents.protocol import codes
from cairn.agents.protocol.storage import DownloadImage, ImageInfo
from cairn.agents.protocol.urls import DENIED_NETWORKS, shown_url
from cairn.kernel.api import StateEvent
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.journal import FlowRun
from cairn.kernel.machine.model import MachineStatus
from cairn.services.backup_storage.messages import ChangeBackupStorageState, ReconnectBackupStorage
from cairn.services.backup_storage.model import BackupStorage, BackupStorageDebt
from cairn.services.image.messages import DeleteImage, ExpungeImage, MediaType
from cairn.services.image.model import Image, ImageBackupStorageRef, ImageStatus
from cairn.simulator import storage as storage_commands
from cairn.simulator.commands import COMMANDS
from cairn.simulator.dials import Dial
from cairn.simulator.refusal import Refused
from cairn.simulator.world import SimHost, World


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("http://images/missing.qcow2", codes.DOWNLOAD_FAILED),
        ("http://nowhere.invalid/x.qcow2", codes.DOWNLOAD_FAILED),
        ("http://images/not-an-image.qcow2", codes.NOT_AN_IMAGE),
        ("http://images/backing.qcow2", codes.BACKING_FILE),
        ("http://images/other.raw", codes.WRONG_FORMAT),
        ("http://images/huge.qcow2?size=2000000000000", codes.IMAGE_TOO_LARGE),
        ("file:///etc/shadow", codes.PATH_REFUSED),
    ],
)
async def test_what_cannot_be_fetched_fails_with_url_storage_and_cause_and_leaves_nothing(
    site: Site, url: str, cause: str
) -> None:
    storage = await site.add_storage("shelf")

    error = await site.refused(site.image(storage, url=url), "image.not-fetched")

    assert error.message == f"The image could not be fetched from {shown_url(url)} onto backup storage shelf."
    assert error.cause is not None
    assert error.cause.code == cause
    assert error.kind is ErrorKind.INVALID
    assert await site.gone()
    assert site.host().images == {}


async def test_one_backup_storage_that_has_it_is_enough(site: Site) -> None:
    good, bad = await site.add_storage("a"), await site.add_storage("b", "sim-0001")
    site.agents.dials.turn(
        Dial(host="sim-0001", command="backup.download-image", error_rate=1.0, error_code=codes.NO_SPACE)
    )

    image = await site.add_image(good, bad)

    assert await site.refs(image) == {good: ("Ready", False)}
    assert (await site.row(Image, image)).status is ImageStatus.READY


async def test_when_all_fail_each_ones_reason_is_told(site: Site) -> None:
    storages = [await site.add_storage(name, host) for name, host in (("a", "backup"), ("b", "sim-0001"))]
    site.agents.dials.turn(
        Dial(host="sim-0001", command="backup.download-image", error_rate=1.0, error_code=codes.NO_SPACE)
    )

    error = await site.refused(site.image(*storages, url="http://images/missing.qcow2"), "image.not-fetched")

    assert "onto any of the backup storages a, b" in error.message
    reasons = error.details["backupStorages"]
    assert isinstance(reasons, dict)
    assert "nothing there" in reasons["a"]
    assert "the disk of the machine that was to do it is full" in reasons["b"]
    assert "simulated failure" in str(error.operator)
    assert await site.gone()


async def test_a_url_that_gives_each_something_else_keeps_only_what_is_the_same(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await site.add_storage("a"), await site.add_storage("b", "sim-0001")
    real = storage_commands.download_image

    def other(world: World, host: SimHost, command: DownloadImage) -> ImageInfo:
        url = command.url if host.name == "backup" else "http://images/other.qcow2"
        return real(world, host, replace(command, url=url))

    monkeypatch.setitem(COMMANDS, DownloadImage.name, (COMMANDS[DownloadImage.name][0], other))
    image = await site.add_image(first, second)

    assert await site.refs(image) == {first: ("Ready", False)}
    assert site.host("sim-0001").images == {}


async def test_a_backup_storage_named_twice_fetches_it_once(site: Site) -> None:
    storage = await site.add_storage()
    image = await site.add_image(storage, storage)

    assert await site.refs(image) == {storage: ("Ready", False)}


async def test_disabled_lost_and_unknown_backup_storages_are_refused_before_anything_is_done(site: Site) -> None:
    storage = await site.add_storage("shelf")
    await site.call(ChangeBackupStorageState(uuid=storage, state_event=StateEvent.DISABLE))
    await site.refused(site.image(storage), "backup-storage.disabled")
    await site.call(ChangeBackupStorageState(uuid=storage, state_event=StateEvent.ENABLE))
    lost = MachineStatus.DISCONNECTED
    await site.context.store.write(lambda tx: tx.update(BackupStorage, storage, status=lost, status_reason="a fire"))
    error = await site.refused(site.image(storage), "backup-storage.disconnected")
    await site.refused(site.image("f" * 32), "backup-storage.not-found")

    assert "shelf is Disconnected." in error.message
    assert error.operator == "a fire"
    assert await site.gone()


async def test_what_an_unreachable_server_may_have_is_removed_when_it_is_back(site: Site) -> None:
    storage = await site.add_storage()
    site.transport.lose_answers = 1000
    error = await site.refused(site.image(storage), "image.not-fetched")

    assert "undoPending" not in error.details
    assert await site.gone()
    assert len(await site.rows(BackupStorageDebt)) == 1
    site.transport.lose_answers = 0
    await site.call(ReconnectBackupStorage(uuid=storage))
    await site.watch()
    assert (site.host().images, await site.rows(BackupStorageDebt)) == ({}, [])


async def test_what_one_of_several_may_have_is_owed_once_the_image_is_ready(site: Site) -> None:
    good, bad = await site.add_storage("a"), await site.add_storage("b", "sim-0001")
    site.agents.dials.turn(Dial(host="sim-0001", error_rate=1.0, error_code=codes.NO_SPACE))

    image = await site.add_image(good, bad)

    assert await site.refs(image) == {good: ("Ready", False)}
    (debt,) = await site.rows(BackupStorageDebt)
    assert debt.backup_storage_uuid == bad
    assert debt.path not in site.host().images


async def test_a_download_under_way_shows_its_status_and_cannot_be_deleted(site: Site) -> None:
    storage = await site.add_storage()
    site.agents.dials.turn(Dial(command="backup.download-image", delay_seconds=3.0))
    message = site.image(storage)
    task = asyncio.ensure_future(site.context.bus.call(message))
    await site.clock.settle()
    uuid = message.resource_uuid or ""

    assert (await site.row(Image, uuid)).status is ImageStatus.DOWNLOADING
    assert await site.refs(uuid) == {storage: ("Downloading", False)}
    with pytest.raises(CairnError, match="being fetched"):
        await site.context.bus.call(DeleteImage(uuid=uuid))
    assert len(await site.rows(FlowRun)) == 1
    await site.clock.run(task)
    assert (await site.row(Image, uuid)).status is ImageStatus.READY


async def test_a_cancelled_download_leaves_nothing(site: Site) -> None:
    storage = await site.add_storage()
    site.agents.dials.turn(Dial(command="backup.download-image", delay_seconds=3.0))
    task = asyncio.ensure_future(site.context.bus.call(site.image(storage)))
    await site.clock.settle()
    task.cancel()
    await site.clock.advance(1)

    assert task.cancelled()
    assert await site.gone()


async def test_an_image_whose_only_backup_storage_goes_while_it_is_fetched_is_not_added(site: Site) -> None:
    storage = await site.add_storage()
    site.agents.dials.turn(Dial(command="backup.download-image", delay_seconds=3.0))
    task = asyncio.ensure_future(site.context.bus.call(site.image(storage)))
    await site.clock.settle()
    await site.context.store.write(lambda tx: tx.delete_where(ImageBackupStorageRef, backup_storage_uuid=storage))
    await site.context.store.write(lambda tx: tx.delete(BackupStorage, storage))

    with pytest.raises(CairnError) as caught:
        await site.clock.run(task)
    assert caught.value.code == "image.no-copy"
    assert await site.gone()


async def test_the_largest_size_and_the_time_are_settings(site: Site) -> None:
    storage = await site.add_storage()
    await site.set("image", "maxSize", str(1 << 20))
    await site.refused(site.image(storage), "image.not-fetched")
    await site.set("image", "maxSize", str(1 << 40))
    await site.set("image", "download.timeout", "2")
    site.agents.dials.turn(Dial(command="backup.download-image", delay_seconds=60.0))
    error = await site.refused(site.image(storage), "image.not-fetched")

    assert error.kind is ErrorKind.TIMEOUT


async def test_a_password_in_the_url_is_used_and_not_shown(site: Site) -> None:
    storage = await site.add_storage()
    image = await site.add_image(storage, url="http://me:secret@images/tiny.qcow2")

    assert (await site.row(Image, image)).url == GOOD


async def test_error_of_an_agent_that_repeats_the_url_is_shown_without_its_secrets(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def repeat(url: str, wanted_format: str, max_bytes: int) -> None:
        raise Refused(codes.DOWNLOAD_FAILED, f"{url}: the server answered 404 Not Found. Check the URL.")

    monkeypatch.setattr("cairn.simulator.storage.images.fetch", repeat)
    url = "http://bob:hunter2@intranet/x.qcow2?token=tok3n"
    error = await site.refused(site.image(await site.add_storage(), url=url), "image.not-fetched")

    assert not any(secret in str(error.record()) for secret in ("hunter2", "tok3n", "bob"))
    assert "http://intranet/x.qcow2?token=…: the server answered 404" in str(error)


async def test_networks_that_are_denied_and_allowed_are_settings(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[DownloadImage] = []
    real = storage_commands.download_image

    def note(world: World, host: SimHost, command: DownloadImage) -> ImageInfo:
        asked.append(command)
        return real(world, host, command)

    monkeypatch.setitem(COMMANDS, DownloadImage.name, (COMMANDS[DownloadImage.name][0], note))
    storage = await site.add_storage()
    await site.add_image(storage)
    await site.set("image", "download.deniedNetworks", "10.0.0.0/8, fd00::/8")
    await site.set("image", "download.allowedNetworks", "10.1.0.0/16")
    await site.add_image(storage, name="second", format="raw", url="http://images/a.raw", media_type=MediaType.ISO)

    assert (asked[0].denied_networks, asked[0].allowed_networks, asked[0].iso) == (DENIED_NETWORKS, (), False)
    assert asked[1].denied_networks == ("10.0.0.0/8", "fd00::/8")
    assert (asked[1].allowed_networks, asked[1].iso) == (("10.1.0.0/16",), True)
    for wrong in ("10.0.0.1/8", "here"):
        with pytest.raises(CairnError, match="networks separated by commas"):
            await site.set("image", "download.deniedNetworks", wrong)


async def test_what_is_added_can_be_removed_without_a_trace(site: Site) -> None:
    image = await site.add_image(await site.add_storage(), user_tags=["red"])
    for message in (DeleteImage(uuid=image), ExpungeImage(image_uuid=image)):
        await site.call(message)

    assert await site.gone()
