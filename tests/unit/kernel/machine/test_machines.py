from __future__ import annotations

import pytest
from tests.unit.services.image_site import AddPaper, Site

from cairn.kernel.machine.machines import Machines
from cairn.kernel.machine.monitor import MachineMonitor
from cairn.services.backup_storage.messages import DeleteBackupStorage, ReconnectBackupStorage
from cairn.services.backup_storage.model import BackupStorage
from cairn.services.backup_storage.provided import BackupStorageAgents
from cairn.services.zone.messages import DeleteZone


async def test_calls_that_add_change_or_delete_a_machine_lead_to_the_client_of_its_kind(site: Site) -> None:
    machines = site.context.need(Machines)
    calls = (
        AddPaper(name="shelf", url="/x"),
        ReconnectBackupStorage(uuid="f" * 32),
        DeleteBackupStorage(uuid="f" * 32),
    )

    assert {machines.of(call) for call in calls} == {site.context.need(BackupStorageAgents)}
    assert machines.of(calls[0]).kind.record is BackupStorage


async def test_a_call_about_something_else_is_a_bug_that_names_it(site: Site) -> None:
    with pytest.raises(AssertionError, match="DeleteZone is not about a kind of machine: Zone"):
        site.context.need(Machines).of(DeleteZone(uuid="f" * 32))


async def test_each_kind_is_watched(site: Site) -> None:
    assert [type(one) for one in site.context.background].count(MachineMonitor) == 1
