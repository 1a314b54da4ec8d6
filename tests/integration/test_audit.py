"""The example plugin of docs/checklists, at work in a whole cloud."""

from pathlib import Path

import pytest
from cairn_audit.manifest import MANIFEST

from cairn.bootstrap import load_plugins, migration_folders
from cairn.kernel.assembly import make_schema
from cairn.kernel.flow.engine import FlowProbe
from cairn.kernel.flow.step import AnyStep
from cairn.kernel.settings import load
from cairn.kernel.store.migrations import check, upgrade
from cairn.simulator.dials import Dial
from cairn.testing.cloud import Cloud, Refused

EXTRA = {"plugins_extra": "cairn_audit.manifest"}


class BreaksAfter(FlowProbe):
    """Fails one step once it has done its work."""

    def __init__(self, step: str) -> None:
        self._step = step

    def done(self, workflow: str, step: AnyStep) -> None:
        if step.name == self._step:
            raise RuntimeError("broken by the test")


async def test_vm_that_starts_leaves_a_note_with_its_ticket() -> None:
    async with Cloud.open(hosts=1, settings=EXTRA) as cloud:
        await cloud.make_site()
        vm = await cloud.create_vm("web", system_tags=["ticket::4711"])

        notes = await cloud.query("AuditNote", "vmInstance.name=web")

        assert [(note["name"], note["ticket"]) for note in notes] == [("web", "4711")]
        assert notes[0]["text"] == f"started on host {vm['hostUuid']}"
        assert await cloud.query("VmInstance", "auditNotes.ticket=4711") == await cloud.query("VmInstance")


async def test_each_start_leaves_a_note() -> None:
    async with Cloud.open(hosts=1, settings=EXTRA) as cloud:
        await cloud.make_site()
        vm = await cloud.create_vm("web")
        await cloud.call("StopVmInstance", uuid=vm["uuid"])
        await cloud.call("StartVmInstance", uuid=vm["uuid"])

        assert len(await cloud.query("AuditNote")) == 2


async def test_creation_that_fails_leaves_no_note() -> None:
    async with Cloud.open(hosts=1, settings=EXTRA, probe=BreaksAfter("audit.note-start")) as cloud:
        await cloud.make_site()

        with pytest.raises(Refused):
            await cloud.create_vm("web")

        assert await cloud.query("AuditNote") == []
        assert await cloud.query("VmInstance") == []


async def test_vm_without_ticket_is_refused_when_the_setting_asks_for_one() -> None:
    async with Cloud.open(hosts=1, settings=EXTRA) as cloud:
        await cloud.make_site()
        await cloud.call("UpdateGlobalConfig", category="audit", name="requireTicket", value="true")

        with pytest.raises(Refused) as refused:
            await cloud.create_vm("web")

        assert refused.value.code == "audit.no-ticket"
        assert await cloud.query("VmInstance") == []
        assert (await cloud.create_vm("web", system_tags=["ticket::1"]))["state"] == "Running"


async def test_ticket_that_is_no_number_is_refused() -> None:
    async with Cloud.open(hosts=1, settings=EXTRA) as cloud:
        await cloud.make_site()

        with pytest.raises(Refused) as refused:
            await cloud.create_vm("web", system_tags=["ticket::soon"])

        assert refused.value.code == "tag.bad-value"


async def test_note_by_hand_outlives_its_vm() -> None:
    async with Cloud.open(hosts=1, settings=EXTRA) as cloud:
        await cloud.make_site()
        vm = await cloud.create_vm("web")

        note = await cloud.call("AddAuditNote", vm_instance_uuid=vm["uuid"], text="moved to rack 7")
        assert (note["name"], note["text"]) == ("web", "moved to rack 7")

        await cloud.call("DestroyVmInstance", uuid=vm["uuid"])
        await cloud.call("ExpungeVmInstance", uuid=vm["uuid"])
        (kept,) = await cloud.query("AuditNote", "text~=moved%")
        assert kept["vmInstanceUuid"] is None


async def test_cloud_without_the_plugin_knows_nothing_of_it() -> None:
    async with Cloud.open(hosts=1) as cloud:
        await cloud.make_site()
        with pytest.raises(Refused) as refused:
            await cloud.create_vm("web", system_tags=["ticket::4711"])
        assert refused.value.code == "tag.unknown"


def test_migrations_make_the_tables_that_the_records_declare(tmp_path: Path) -> None:
    loaded = load_plugins(load({}, data_dir=tmp_path, **EXTRA))
    assert MANIFEST in loaded.manifests
    upgrade(tmp_path / "store.db", migration_folders(loaded))
    assert check(tmp_path / "store.db", make_schema(loaded)) == []


async def test_held_vm_is_not_removed_by_whatever_call() -> None:
    async with Cloud.open(hosts=1, settings=EXTRA) as cloud:
        await cloud.make_site()
        vm = await cloud.create_vm("web")
        await cloud.call("HoldVmInstance", uuid=vm["uuid"], reason="court order")

        status, problem = await cloud.send("DestroyVmInstance", uuid=vm["uuid"])
        assert (status, problem["code"]) == (409, "audit.vm-held")
        with pytest.raises(Refused, match="court order"):
            await cloud.call("DeleteZone", uuid=cloud.site["zone"], delete_mode="Enforcing")
        assert (await cloud.query("VmInstance"))[0]["state"] == "Running"

        await cloud.call("ReleaseVmInstance", uuid=vm["uuid"])
        await cloud.call("DestroyVmInstance", uuid=vm["uuid"])


async def test_call_that_was_accepted_before_the_hold_is_refused_in_its_turn() -> None:
    async with Cloud.open(hosts=1, settings=EXTRA) as cloud:
        await cloud.make_site()
        vm = await cloud.create_vm("web")
        cloud.agents.dials.turn(Dial(command="vm.reboot", delay_seconds=30.0))
        await cloud.send("RebootVmInstance", uuid=vm["uuid"])
        _, job = await cloud.send("DestroyVmInstance", uuid=vm["uuid"])
        await cloud.call("HoldVmInstance", uuid=vm["uuid"], reason="court order")

        with pytest.raises(Refused) as refused:
            await cloud.finish(str(job["uuid"]))
        assert refused.value.code == "audit.vm-held"
        assert (await cloud.query("VmInstance"))[0]["state"] == "Running"


async def test_protected_tag_is_set_and_removed_by_its_plugin_alone() -> None:
    async with Cloud.open(hosts=1, settings=EXTRA) as cloud:
        await cloud.make_site()
        with pytest.raises(Refused) as refused:
            await cloud.create_vm("web", system_tags=["hold::mine"])
        assert refused.value.code == "tag.protected"
        vm = await cloud.create_vm("web")
        await cloud.call("HoldVmInstance", uuid=vm["uuid"], reason="first")
        await cloud.call("HoldVmInstance", uuid=vm["uuid"], reason="second")
        (tag,) = await cloud.query("SystemTag", "resourceUuid=" + str(vm["uuid"]))
        assert tag["tag"] == "hold::second"

        for api, fields in (
            ("DeleteTag", {}),
            ("UpdateSystemTag", {"tag": "hold::third"}),
        ):
            with pytest.raises(Refused) as refused:
                await cloud.call(api, uuid=tag["uuid"], **fields)
            assert refused.value.code == "tag.protected"


async def test_ticket_that_changes_or_goes_leaves_a_note() -> None:
    async with Cloud.open(hosts=1, settings=EXTRA) as cloud:
        await cloud.make_site()
        vm = await cloud.create_vm("web", strategy="CreateStopped", system_tags=["ticket::1"])
        (tag,) = await cloud.query("SystemTag", "resourceUuid=" + str(vm["uuid"]))
        await cloud.call("UpdateSystemTag", uuid=tag["uuid"], tag="ticket::2")
        await cloud.call("DeleteTag", uuid=tag["uuid"])

        assert sorted(str(note["text"]) for note in await cloud.query("AuditNote")) == [
            "ticket 1 became 2",
            "ticket 2 was taken away",
        ]


async def test_hosts_that_are_kept_for_tickets_take_only_vms_with_one() -> None:
    async with Cloud.open(hosts=1, settings=EXTRA) as cloud:
        await cloud.make_site()
        (host,) = await cloud.query("Host")
        await cloud.call("UpdateGlobalConfig", category="audit", name="hostsForTickets", value=str(host["name"])[:3])
        with pytest.raises(Refused) as refused:
            await cloud.create_vm("without")
        assert refused.value.code == "host.none-fits"

        vm = await cloud.create_vm("with", system_tags=["ticket::1"])
        await cloud.call("StopVmInstance", uuid=vm["uuid"])
        assert (await cloud.call("StartVmInstance", uuid=vm["uuid"]))["state"] == "Running"


async def test_crash_is_noted_once() -> None:
    async with Cloud.open(hosts=1, settings=EXTRA) as cloud:
        await cloud.make_site()
        vm = await cloud.create_vm("web")
        cloud.agents.kill_vm("sim-0001", str(vm["uuid"]))
        await cloud.quiet(70)

        notes = [note for note in await cloud.query("AuditNote") if str(note["text"]).startswith("crashed")]
        assert len(notes) == 1


async def test_simulated_host_answers_the_plugins_command() -> None:
    async with Cloud.open(hosts=1, settings=EXTRA) as cloud:
        await cloud.make_site()
        assert (await cloud.call("GetHostUptime", uuid=cloud.site["host-1"]))["seconds"] == 3600
