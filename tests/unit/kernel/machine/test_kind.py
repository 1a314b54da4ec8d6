from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from tests.unit.services.image_site import ZONE, AddPaper, Site, trouble

from cairn.agents.protocol.wire import Pong
from cairn.kernel.error import CairnError
from cairn.kernel.event import EventRow
from cairn.kernel.machine.kind import AnyKind
from cairn.kernel.machine.machines import Machines
from cairn.kernel.machine.model import AgentSeen, MachineStatus
from cairn.kernel.resource import Resource
from cairn.kernel.store.store import Tx
from cairn.services.backup_storage.messages import AttachBackupStorageToZone, ReconnectBackupStorage
from cairn.services.backup_storage.model import BackupStorage, BackupStorageZoneRef

SEEN = AgentSeen(agent_boot="b2", agent_version="9", agent_protocol=1)


def kind_of(site: Site) -> AnyKind:
    return site.context.need(Machines).of(ReconnectBackupStorage(uuid="")).kind


async def told(site: Site) -> list[object]:
    return [row.content["status"] for row in await site.rows(EventRow, name="backup-storage.status-changed")]


async def do(site: Site, fn: Callable[[Tx], object]) -> None:
    await site.context.store.write(fn)


async def test_a_status_is_told_of_once_and_a_new_reason_is_only_written_down(site: Site) -> None:
    storage, kind = await site.add_storage(), kind_of(site)
    before = await told(site)
    for reason in ("a fire", "a fire", "a flood"):
        await do(site, lambda tx: kind.set_status(tx, storage, MachineStatus.DISCONNECTED, reason))  # noqa: B023

    row = await site.storage(storage)
    assert (row.status, row.status_reason) == (MachineStatus.DISCONNECTED, "a flood")
    assert (await told(site))[len(before) :] == ["Disconnected"]


async def test_one_that_is_gone_has_no_status(site: Site) -> None:
    kind = kind_of(site)
    await do(site, lambda tx: kind.set_status(tx, "f" * 32, MachineStatus.CONNECTED, None))
    await do(site, lambda tx: kind.failed(tx, "f" * 32))

    assert await told(site) == []


async def test_connecting_that_failed_is_the_reason_until_it_is_connected_with_its_facts(site: Site) -> None:
    storage, kind = await site.add_storage(), kind_of(site)
    await do(site, lambda tx: kind.failed(tx, storage))
    lost = await site.storage(storage)
    await do(site, lambda tx: kind.connected(tx, storage, SEEN, total_capacity=7))
    row = await site.storage(storage)

    assert (lost.status, lost.status_reason) == (MachineStatus.DISCONNECTED, "connecting failed")
    assert (row.status, row.status_reason) == (MachineStatus.CONNECTED, None)
    assert (row.agent_boot, row.agent_version, row.agent_protocol, row.total_capacity) == ("b2", "9", 1, 7)


async def test_a_warning_is_told_of_once_and_ends_with_the_next_connect_without_one(site: Site) -> None:
    storage, kind = await site.add_storage(), kind_of(site)
    known = (await site.storage(storage)).machine_identity
    warnings = []
    for warning in ("it is old", "it is old", None):
        await do(site, lambda tx: kind.connected(tx, storage, SEEN, warning))  # noqa: B023
        warnings.append((await site.storage(storage)).agent_warning)

    assert warnings == ["it is old", "it is old", None]
    (told_of,) = await site.rows(EventRow, name="machine.agent-warned")
    assert (told_of.content["version"], told_of.content["warning"]) == ("9", "it is old")
    assert (await site.storage(storage)).machine_identity == known, "one that does not tell it now is not another one"


async def test_an_agent_that_was_restarted_is_another_one(site: Site) -> None:
    row, kind = await site.storage(await site.add_storage()), kind_of(site)

    assert kind.is_known(row, Pong(host=None, boot=row.agent_boot, version="1"))
    assert not kind.is_known(row, Pong(host=None, boot="another", version="1"))
    assert not kind.is_known(row, Pong(host=None, boot=row.agent_boot, version="1", protocol=99))
    spoke = msgspec.structs.replace(row, agent_protocol=99)
    assert not kind.is_known(spoke, Pong(host=None, boot=row.agent_boot, version="1"))


async def test_one_that_is_erased_twice_is_forgotten_by_its_driver_once_with_what_points_to_it(site: Site) -> None:
    storage, kind = await site.add_storage(), kind_of(site)
    await site.call(AttachBackupStorageToZone(zone_uuid=ZONE, backup_storage_uuid=storage))
    for _ in range(2):
        await do(site, lambda tx: kind.erase(tx, storage))

    assert site.driver.forgotten == [storage]
    for gone in (await site.rows(BackupStorage), await site.rows(BackupStorageZoneRef)):
        assert gone == []
    assert await site.rows(Resource, uuid=storage) == []


async def test_one_whose_plugin_is_left_out_is_erased_without_its_driver(site: Site) -> None:
    storage, kind = await site.add_storage(), kind_of(site)
    await do(site, lambda tx: tx.update(BackupStorage, storage, type="Gone"))
    await do(site, lambda tx: kind.erase(tx, storage))

    assert site.driver.forgotten == []
    assert await site.rows(BackupStorage) == []


async def test_a_driver_that_refuses_to_forget_keeps_the_row(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, kind = await site.add_storage(), kind_of(site)

    def removed(tx: Tx, uuid: str) -> None:
        raise trouble()

    monkeypatch.setattr(site.driver, "removed", removed)
    with pytest.raises(CairnError) as caught:
        await do(site, lambda tx: kind.erase(tx, storage))

    assert caught.value.code == "ssh.unreachable"
    assert [row.uuid for row in await site.rows(BackupStorage)] == [storage]


async def test_a_machine_with_an_id_that_is_taken_is_not_added(site: Site) -> None:
    storage = await site.add_storage("first")
    again = AddPaper(resource_uuid=storage, name="second", url="/var/lib/cairn-backup")

    await site.refused(again, "resource.uuid-taken")

    assert [row.name for row in await site.rows(BackupStorage)] == ["first"]


async def test_of_two_rows_that_connect_to_one_machine_at_a_time_one_is_refused(site: Site) -> None:
    first, second = await site.add_storage("first"), await site.add_storage("second", host="sim-0001")
    kind, found = kind_of(site), (await site.storage(first)).machine_identity
    seen = msgspec.structs.replace(SEEN, machine_identity=found)

    with pytest.raises(CairnError) as caught:
        await do(site, lambda tx: kind.connected(tx, second, seen))

    assert caught.value.code == "backup-storage.machine-taken"


async def test_queues_of_the_agent_are_not_the_machine_s_own(site: Site) -> None:
    kind = kind_of(site)

    assert kind.agent_queue("u") == "backup-storage-agent:u"
    assert kind.agent_queue("u", idle=True) == "backup-storage-agent-idle:u"
