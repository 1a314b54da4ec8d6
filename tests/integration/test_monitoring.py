"""The database is made true: hosts that are lost and come back, VMs that change by themselves."""

from __future__ import annotations

from datetime import datetime
from typing import cast

import pytest
from tests.flows.world import broken_rules

from cairn.agents.protocol.vm import PowerState
from cairn.services.ids import HostId
from cairn.services.vm.messages import ObserveVm
from cairn.services.vm.reconciler import VmReconciler
from cairn.simulator.dials import Dial
from cairn.testing.cloud import Cloud, Json

INTERVAL = 60


async def seen(cloud: Cloud, entity: str, uuid: object, field: str) -> object:
    """A field, as the API shows it."""
    (row,) = await cloud.query(entity, f"uuid={uuid}")
    return row[field]


async def on_first_host(cloud: Cloud, name: str = "web") -> Json:
    """A VM on the first host."""
    return await cloud.create_vm(name, host_uuid=cloud.site["host-1"])


async def test_lost_host_is_disconnected_and_its_vms_are_unknown_until_it_is_back(cloud: Cloud) -> None:
    vm = await on_first_host(cloud)
    other = await cloud.create_vm("other", host_uuid=cloud.site["host-2"])
    cloud.agents.dials.turn(Dial(host="sim-0001", dead=True))
    await cloud.quiet(2 * INTERVAL)
    assert await seen(cloud, "Host", cloud.site["host-1"], "status") == "Disconnected"
    assert await seen(cloud, "VmInstance", vm["uuid"], "state") == "Unknown"
    assert await seen(cloud, "VmInstance", other["uuid"], "state") == "Running"

    cloud.agents.dials.clear()
    await cloud.quiet(15 * INTERVAL)
    assert await seen(cloud, "Host", cloud.site["host-1"], "status") == "Connected"
    assert await seen(cloud, "VmInstance", vm["uuid"], "state") == "Running"
    assert broken_rules(cloud) == []


async def test_vm_that_is_worked_on_when_its_host_is_lost_is_unknown_once_the_work_has_failed(cloud: Cloud) -> None:
    await cloud.call("UpdateGlobalConfig", category="host", name="connection.autoReconnectOnError", value="false")
    vm = await on_first_host(cloud)
    cloud.agents.dials.turn(Dial(host="sim-0001", command="vm.pause", delay_seconds=100, slow=True))
    await cloud.send("PauseVmInstance", uuid=vm["uuid"])
    await cloud.quiet(1)
    cloud.agents.dials.turn(Dial(host="sim-0001", dead=True))
    await cloud.quiet(10 * INTERVAL)

    assert await seen(cloud, "Host", cloud.site["host-1"], "status") == "Disconnected"
    assert await seen(cloud, "VmInstance", vm["uuid"], "state") == "Unknown"
    cloud.agents.dials.clear()
    await cloud.call("ReconnectHost", uuid=cloud.site["host-1"])
    await cloud.quiet(3 * INTERVAL)  # what is owed is undone there, and the next ping tells the rest
    assert await seen(cloud, "VmInstance", vm["uuid"], "state") == "Running"
    assert broken_rules(cloud) == []


async def test_host_that_misses_two_pings_stays_connected(cloud: Cloud) -> None:
    vm = await on_first_host(cloud)
    cloud.transport.lose_answers = 2
    await cloud.quiet(2 * INTERVAL)
    assert await seen(cloud, "Host", cloud.site["host-1"], "status") == "Connected"
    assert await seen(cloud, "VmInstance", vm["uuid"], "state") == "Running"


async def test_vm_that_stopped_while_its_host_was_lost_is_stopped_when_it_is_back(cloud: Cloud) -> None:
    vm = await on_first_host(cloud)
    cloud.agents.dials.turn(Dial(host="sim-0001", dead=True))
    await cloud.quiet(2 * INTERVAL)
    assert cloud.agents.kill_vm("sim-0001", str(vm["uuid"]))
    cloud.agents.dials.clear()
    await cloud.quiet(15 * INTERVAL)
    assert await seen(cloud, "VmInstance", vm["uuid"], "state") == "Stopped"
    await cloud.call("StartVmInstance", uuid=vm["uuid"])
    assert broken_rules(cloud) == []


async def test_no_vm_is_placed_on_a_lost_host(cloud: Cloud) -> None:
    cloud.agents.dials.turn(Dial(host="sim-0001", dead=True))
    await cloud.quiet(2 * INTERVAL)
    for number in range(4):
        vm = await cloud.create_vm(f"vm-{number}")
        assert vm["hostUuid"] == cloud.site["host-2"]


async def test_vm_that_dies_is_seen_at_once_by_the_agents_report(cloud: Cloud) -> None:
    vm = await on_first_host(cloud)
    await cloud.quiet(1)
    cloud.agents.kill_vm("sim-0001", str(vm["uuid"]))
    report = ObserveVm(vm=str(vm["uuid"]), host=cloud.site["host-1"], power="Crashed", reason="crashed")
    await cloud.clock.run(cloud.node.context.bus.call(report))
    (row,) = await cloud.query("VmInstance", f"uuid={vm['uuid']}")
    assert (row["state"], row["hostUuid"]) == ("Stopped", None)


async def crashes(cloud: Cloud) -> list[Json]:
    """What is told of crashes, oldest first."""
    return sorted(await cloud.query("Event", "name=vm.crashed"), key=lambda event: cast("int", event["sequence"]))


@pytest.mark.parametrize("reported", [True, False], ids=["reported", "seen by the ping"])
async def test_a_crash_is_an_event_of_its_own_told_once_with_the_owner(cloud: Cloud, *, reported: bool) -> None:
    vm = await on_first_host(cloud)
    await cloud.quiet(1)
    cloud.agents.kill_vm("sim-0001", str(vm["uuid"]))
    report = ObserveVm(vm=str(vm["uuid"]), host=cloud.site["host-1"], power="Crashed", reason="crashed")
    for _ in range(2 if reported else 0):
        await cloud.clock.run(cloud.node.context.bus.call(report))
    await cloud.quiet(2 * INTERVAL)

    (told,) = await crashes(cloud)
    content = cast("Json", told["content"])
    assert (told["resourceUuid"], told["accountUuid"]) == (vm["uuid"], vm["accountUuid"])
    assert (content["vm"], content["name"], content["host"]) == (vm["uuid"], "web", cloud.site["host-1"])
    assert await seen(cloud, "VmInstance", vm["uuid"], "state") == "Stopped"


async def test_what_ends_in_another_way_is_no_crash(cloud: Cloud) -> None:
    stopped, off, unplugged = [str((await on_first_host(cloud, name))["uuid"]) for name in ("a", "b", "c")]
    host = cloud.world.hosts["sim-0001"]
    await cloud.call("StopVmInstance", uuid=stopped)
    host.power_off(off)
    del host.vms[off]
    report = ObserveVm(vm=off, host=cloud.site["host-1"], power="Stopped", reason="shut down")
    await cloud.clock.run(cloud.node.context.bus.call(report))
    cloud.agents.dials.turn(Dial(host="sim-0001", dead=True))
    await cloud.quiet(2 * INTERVAL)
    host.power_off(unplugged)
    del host.vms[unplugged]
    cloud.agents.dials.clear()
    await cloud.quiet(15 * INTERVAL)

    assert {row["state"] for row in await cloud.query("VmInstance")} == {"Stopped"}
    assert await crashes(cloud) == []


async def test_vm_that_dies_is_seen_by_the_next_ping_when_the_report_is_lost(cloud: Cloud) -> None:
    vm = await on_first_host(cloud)
    cloud.agents.kill_vm("sim-0001", str(vm["uuid"]))
    assert await seen(cloud, "VmInstance", vm["uuid"], "state") == "Running"
    await cloud.quiet(INTERVAL + 1)
    assert await seen(cloud, "VmInstance", vm["uuid"], "state") == "Stopped"


async def test_report_that_comes_late_changes_nothing(cloud: Cloud) -> None:
    vm = await on_first_host(cloud)
    report = ObserveVm(vm=str(vm["uuid"]), host=cloud.site["host-1"], power="Stopped", reason="shut down")
    await cloud.clock.run(cloud.node.context.bus.call(report))
    assert await seen(cloud, "VmInstance", vm["uuid"], "state") == "Running"


async def test_vm_that_starts_by_itself_is_running(cloud: Cloud) -> None:
    vm = await on_first_host(cloud)
    uuid = str(vm["uuid"])
    domain = cloud.world.hosts["sim-0001"].vms[uuid]
    await cloud.call("StopVmInstance", uuid=uuid)
    cloud.world.hosts["sim-0001"].power_on(uuid, domain)
    domain.state = PowerState.RUNNING
    report = ObserveVm(vm=uuid, host=cloud.site["host-1"], power="Running", reason="started")
    await cloud.clock.run(cloud.node.context.bus.call(report))
    await cloud.quiet(INTERVAL + 1)
    assert await seen(cloud, "VmInstance", uuid, "state") == "Running"
    assert await seen(cloud, "VmInstance", uuid, "hostUuid") == cloud.site["host-1"]


async def test_a_host_that_says_it_runs_the_vm_of_another_is_told_of_and_not_believed(cloud: Cloud) -> None:
    vm = await on_first_host(cloud)
    uuid = str(vm["uuid"])
    cloud.world.hosts["sim-0002"].vms[uuid] = cloud.world.hosts["sim-0001"].vms[uuid]
    for _ in range(10):
        await cloud.quiet(INTERVAL / 2)
        assert await seen(cloud, "VmInstance", uuid, "hostUuid") == cloud.site["host-1"]
    changes = [event for event in await cloud.query("Event", "name=vm.state-changed") if event["resourceUuid"] == uuid]
    (told,) = await cloud.query("Event", "name=vm.strange-seen")
    del cloud.world.hosts["sim-0002"].vms[uuid]
    await cloud.quiet(INTERVAL)  # what it held as a stray is given back

    assert len(changes) <= 2, "Starting and Running"
    content = cast("Json", told["content"])
    assert (content["vm"], content["host"], content["placedOn"]) == (uuid, cloud.site["host-2"], cloud.site["host-1"])
    assert broken_rules(cloud) == []


async def test_vm_that_nobody_knows_is_told_of(cloud: Cloud) -> None:
    vm = await on_first_host(cloud)
    uuid = str(vm["uuid"])
    strange = "f" * 32
    first = cloud.world.hosts["sim-0001"]
    first.vms[strange] = first.vms[uuid]
    await cloud.quiet(3 * INTERVAL)
    told = await cloud.query("Event", "name=vm.strange-seen")
    assert [cast("Json", event["content"])["vm"] for event in told] == [strange]
    del first.vms[strange]
    await cloud.quiet(INTERVAL)


async def test_agent_that_restarts_is_reconnected(cloud: Cloud) -> None:
    vm = await on_first_host(cloud)
    cloud.agents.restart_agent("sim-0001")
    await cloud.quiet(INTERVAL + 1)
    assert await seen(cloud, "Host", cloud.site["host-1"], "status") == "Connected"
    assert await seen(cloud, "VmInstance", vm["uuid"], "state") == "Running"
    assert broken_rules(cloud) == []


async def test_ping_interval_is_changed_at_once(cloud: Cloud) -> None:
    vm = await on_first_host(cloud)
    await cloud.call("UpdateGlobalConfig", category="host", name="ping.interval", value="5")
    cloud.agents.kill_vm("sim-0001", str(vm["uuid"]))
    await cloud.quiet(6)
    assert await seen(cloud, "VmInstance", vm["uuid"], "state") == "Stopped"


async def test_host_whose_reconnect_hangs_delays_no_ping_of_another_however_few_places_there_are(cloud: Cloud) -> None:
    await cloud.call("UpdateGlobalConfig", category="host", name="ping.parallelismDegree", value="1")
    cloud.agents.dials.turn(Dial(host="sim-0001", command="storage.init", delay_seconds=800.0))
    cloud.agents.restart_agent("sim-0001")
    await cloud.quiet(INTERVAL + 1)
    assert await seen(cloud, "Host", cloud.site["host-1"], "status") == "Connecting"
    cloud.agents.dials.turn(Dial(host="sim-0002", dead=True))
    await cloud.quiet(INTERVAL + 5)
    assert await seen(cloud, "Host", cloud.site["host-2"], "status") == "Disconnected"
    assert await seen(cloud, "Host", cloud.site["host-1"], "status") == "Connecting"


async def test_backup_storage_that_is_busy_with_slow_downloads_is_watched_all_the_same(cloud: Cloud) -> None:
    await cloud.call("UpdateGlobalConfig", category="backupStorage", name="parallelism", value="1")
    cloud.agents.dials.turn(Dial(host="backup", command="backup.download-image", delay_seconds=9000, slow=True))
    images = {"url": "http://trickle/x.qcow2", "format": "qcow2", "backup_storage_uuids": [cloud.site["backup"]]}
    jobs = [(await cloud.send("AddImage", name=f"i{number}", **images))[1]["uuid"] for number in range(3)]
    await cloud.quiet(1)
    (queue,) = cloud.node.context.queues.inspect("backup-storage-agent:")
    assert (len(queue.running), len(queue.waiting)) == (1, 2), "every place for commands is taken"

    def pings() -> int:
        return sum(url.endswith("/hosts/backup/v1/ping") for _, url in cloud.transport.requests)

    before = pings()
    await cloud.quiet(10 * INTERVAL)
    assert pings() - before == 10
    cloud.agents.dials.turn(Dial(host="backup", dead=True))
    await cloud.quiet(INTERVAL + 5)
    assert await seen(cloud, "BackupStorage", cloud.site["backup"], "status") == "Disconnected"
    cloud.agents.dials.clear()
    for job in jobs:
        await cloud.request("DELETE", f"/v1/api-jobs/{job}")
    await cloud.quiet(5 * INTERVAL)
    assert await cloud.query("Image", "name~=i%") == []


async def test_host_that_was_switched_off_in_maintenance_gets_no_vm_when_it_is_enabled(cloud: Cloud) -> None:
    first = cloud.site["host-1"]
    await cloud.call("ChangeHostState", uuid=first, state_event="maintain")
    cloud.agents.dials.turn(Dial(host="sim-0001", dead=True))
    await cloud.quiet(INTERVAL + 5)
    assert await seen(cloud, "Host", first, "status") == "Disconnected"
    await cloud.quiet(10 * INTERVAL)
    assert await seen(cloud, "Host", first, "status") == "Disconnected"

    await cloud.call("ChangeHostState", uuid=first, state_event="enable")
    vms = [await cloud.create_vm(f"vm-{number}") for number in range(3)]
    assert {vm["hostUuid"] for vm in vms} == {cloud.site["host-2"]}


async def test_host_in_maintenance_that_is_switched_on_again_is_connected(cloud: Cloud) -> None:
    first = cloud.site["host-1"]
    await cloud.call("ChangeHostState", uuid=first, state_event="maintain")
    cloud.agents.dials.turn(Dial(host="sim-0001", dead=True))
    await cloud.quiet(30 * INTERVAL)
    cloud.agents.dials.clear()
    await cloud.quiet(INTERVAL + 5)
    assert await seen(cloud, "Host", first, "status") == "Connected"


async def test_word_that_is_not_understood_from_one_host_ends_the_watching_of_none(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    understood = VmReconciler.host_pinged

    async def stumbles(self: VmReconciler, host: HostId, vms: dict[str, str], asked_at: datetime) -> None:
        if host == cloud.site["host-1"]:
            raise ValueError("'Migrating' is not a valid PowerState")
        await understood(self, host, vms, asked_at)

    monkeypatch.setattr(VmReconciler, "host_pinged", stumbles)
    await cloud.quiet(3 * INTERVAL)
    assert cloud.node.context.metrics.loop_failures.value("host monitor") >= 3
    for name, host in (("sim-0001", "host-1"), ("sim-0002", "host-2")):
        cloud.agents.dials.turn(Dial(host=name, dead=True))
        await cloud.quiet(INTERVAL + 5)
        assert await seen(cloud, "Host", cloud.site[host], "status") == "Disconnected"
