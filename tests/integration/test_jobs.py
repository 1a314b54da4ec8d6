"""Jobs: each call once, cancelled, out of time, and how many run at a time."""

from __future__ import annotations

from typing import NamedTuple, cast

import pytest
from tests.flows.world import broken_rules

from cairn.simulator.dials import Dial
from cairn.testing.cloud import Cloud, Json, Refused

JOB = "0123456789abcdef0123456789abcdef"


async def begin(cloud: Cloud, name: str, **headers: str) -> str:
    """Ask for a VM; its job."""
    fields = cloud.vm_fields(name)
    params = {
        "name": name,
        "imageUuid": fields["image_uuid"],
        "l3NetworkUuids": fields["l3_network_uuids"],
        "cpuNum": 1,
        "memorySize": 64 << 20,
    }
    given = {key.replace("_", "-"): value for key, value in headers.items()}
    status, answer = await cloud.request("POST", "/v1/vm-instances", {"params": params}, given)
    assert status == 202, answer
    return str(answer["uuid"])


async def job(cloud: Cloud, uuid: str) -> Json:
    """How a job stands."""
    status, answer = await cloud.request("GET", f"/v1/api-jobs/{uuid}")
    assert status == 200
    return answer


async def test_same_id_is_the_same_job_and_done_once(cloud: Cloud) -> None:
    fields = cloud.vm_fields("once")
    for _ in range(2):
        status, answer = await cloud.send("CreateVmInstance", **fields, job_id=JOB)
        assert (status, answer["uuid"]) == (202, JOB)
    await cloud.finish(JOB)
    status, _ = await cloud.send("CreateVmInstance", **fields, job_id=JOB)
    assert status == 202
    assert len(await cloud.query("VmInstance")) == 1


async def test_id_of_another_call_is_refused(cloud: Cloud) -> None:
    await cloud.send("CreateVmInstance", **cloud.vm_fields("first"), job_id=JOB)
    status, problem = await cloud.send("CreateVmInstance", **cloud.vm_fields("second"), job_id=JOB)
    assert (status, problem["code"]) == (409, "job.id-taken")
    await cloud.finish(JOB)
    assert [vm["name"] for vm in await cloud.query("VmInstance")] == ["first"]


@pytest.mark.parametrize("command", ["storage.cache-image", "storage.create-volume", "flat.ensure-dhcp", "vm.start"])
async def test_cancelled_creation_is_undone(cloud: Cloud, command: str) -> None:
    cloud.agents.dials.turn(Dial(command=command, delay_seconds=100))
    uuid = await begin(cloud, "cancelled")
    await cloud.quiet(3)
    assert (await job(cloud, uuid))["state"] == "Running"
    status, _ = await cloud.request("DELETE", f"/v1/api-jobs/{uuid}")
    assert status in (200, 202)
    cloud.agents.dials.clear()
    with pytest.raises(Refused):
        await cloud.finish(uuid)
    assert (await job(cloud, uuid))["state"] == "Cancelled"
    await cloud.quiet(200)
    assert await cloud.query("VmInstance") == []
    assert broken_rules(cloud) == []


@pytest.mark.parametrize("command", ["storage.cache-image", "storage.create-volume", "flat.ensure-dhcp", "vm.start"])
async def test_creation_that_takes_too_long_is_undone(cloud: Cloud, command: str) -> None:
    cloud.agents.dials.turn(Dial(command=command, delay_seconds=100))
    began = cloud.clock.monotonic()
    uuid = await begin(cloud, "late", x_api_timeout="5")
    with pytest.raises(Refused) as refused:
        await cloud.finish(uuid)
    assert refused.value.problem["kind"] == "timeout"
    assert cloud.clock.monotonic() - began < 60
    cloud.agents.dials.clear()
    await cloud.quiet(200)
    assert await cloud.query("VmInstance") == []
    assert broken_rules(cloud) == []


async def test_running_job_tells_its_step_and_percent(cloud: Cloud) -> None:
    cloud.agents.dials.turn(Dial(command="vm.start", delay_seconds=20))
    uuid = await begin(cloud, "slow")
    await cloud.quiet(2)
    progress = cast("Json", (await job(cloud, uuid))["progress"])
    assert progress["step"] == "starting the VM on its host"
    assert 0 < cast("int", progress["percent"]) < 100
    await cloud.finish(uuid)


async def test_how_many_jobs_run_at_a_time_is_changed_at_once(cloud: Cloud) -> None:
    cloud.agents.dials.turn(Dial(command="vm.start", delay_seconds=20))
    await cloud.call("UpdateGlobalConfig", category="api", name="parallelism", value="2")
    jobs = [await begin(cloud, f"vm-{number}") for number in range(6)]
    await cloud.quiet(1)
    assert cloud.node.context.jobs.counts() == (2, 4)
    await cloud.quiet(29)
    assert cloud.node.context.jobs.counts() == (2, 2)
    # The change itself is a job that waits for its place.
    status, change = await cloud.send("UpdateGlobalConfig", category="api", name="parallelism", value="100")
    assert status == 202
    for uuid in [*jobs, str(change["uuid"])]:
        await cloud.finish(uuid)
    assert len(await cloud.query("VmInstance", "state=Running")) == 6


async def test_how_much_a_host_does_at_a_time_is_changed_at_once(cloud: Cloud) -> None:
    vm = await cloud.create_vm("warm", host_uuid=cloud.site["host-1"])
    await cloud.call("DestroyVmInstance", uuid=vm["uuid"])
    cloud.agents.dials.turn(Dial(command="vm.start", delay_seconds=10))
    await cloud.call("UpdateGlobalConfig", category="host", name="parallelism", value="1")
    fields = {"host_uuid": cloud.site["host-1"]}
    jobs = []
    for number in range(4):
        _, answer = await cloud.send("CreateVmInstance", **cloud.vm_fields(f"vm-{number}", **fields))
        jobs.append(str(answer["uuid"]))
    await cloud.quiet(10.5)
    assert len(await cloud.query("VmInstance", "state=Running")) == 1
    await cloud.call("UpdateGlobalConfig", category="host", name="parallelism", value="10")
    await cloud.quiet(10.5)
    assert len(await cloud.query("VmInstance", "state=Running")) == 4
    for uuid in jobs:
        await cloud.finish(uuid)


class Tenant(NamedTuple):
    """An account with an image of its own."""

    name: str
    uuid: str
    image: str

    async def log_in(self, cloud: Cloud) -> None:
        """Go on as this account."""
        await cloud.log_in(self.name, f"pw-{self.name}")

    def vm(self, cloud: Cloud, name: str) -> Json:
        """The fields of a VM."""
        return cloud.vm_fields(name, image_uuid=self.image)


async def tenant(cloud: Cloud, name: str) -> Tenant:
    """A new account."""
    await cloud.log_in()
    uuid = await cloud.create_account(name, f"pw-{name}")
    await cloud.log_in(name, f"pw-{name}")
    image = await cloud.call("AddImage", **image_fields(cloud, f"of-{name}"))
    await cloud.log_in()
    return Tenant(name, uuid, str(image["uuid"]))


def image_fields(cloud: Cloud, name: str) -> Json:
    """The fields of an image."""
    return {
        "name": name,
        "url": "http://images.example/tiny.qcow2",
        "format": "qcow2",
        "backup_storage_uuids": [cloud.site["backup"]],
    }


async def test_account_that_floods_with_slow_calls_stops_nobody(cloud: Cloud) -> None:
    mallory, alice = await tenant(cloud, "mallory"), await tenant(cloud, "alice")
    cloud.agents.dials.turn(Dial(host="backup", command="backup.download-image", delay_seconds=9000, slow=True))
    await mallory.log_in(cloud)
    for number in range(520):
        status, answer = await cloud.send("AddImage", **image_fields(cloud, f"i{number}"))
        assert status == 202, answer
    await cloud.quiet(1)
    assert cloud.node.context.jobs.counts() == (4, 516)
    began = cloud.clock.monotonic()
    await cloud.call("CreateVmInstance", **mallory.vm(cloud, "not-an-image"))

    await alice.log_in(cloud)
    await cloud.call("CreateVmInstance", **alice.vm(cloud, "hers"))
    await cloud.log_in()
    await cloud.call("CreateZone", name="urgent")
    await cloud.call("ChangeAccountState", uuid=mallory.uuid, state_event="disable")

    assert cloud.clock.monotonic() - began < 10
    await cancel_all(cloud)


async def cancel_all(cloud: Cloud) -> None:
    """End all jobs that are open."""
    cloud.agents.dials.clear()
    for row in await cloud.query("Job", "state=Waiting"):
        await cloud.request("DELETE", f"/v1/api-jobs/{row['uuid']}")
    await cloud.quiet(120)
    assert cloud.node.context.jobs.counts() == (0, 0)


async def test_backlog_is_bounded_for_each_account(cloud: Cloud) -> None:
    await cloud.call("UpdateGlobalConfig", category="job", name="backlog.account", value="5")
    mallory, alice = await tenant(cloud, "mallory"), await tenant(cloud, "alice")
    cloud.agents.dials.turn(Dial(command="vm.start", delay_seconds=100))
    await mallory.log_in(cloud)
    for number in range(5):
        status, answer = await cloud.send("CreateVmInstance", **mallory.vm(cloud, f"vm-{number}"))
        assert status == 202, answer

    status, problem = await cloud.send("CreateVmInstance", **mallory.vm(cloud, "one-too-many"))

    assert (status, problem["code"], problem["kind"]) == (429, "job.backlog-full", "exhausted")
    assert "5 jobs of this account are open" in cast("str", problem["detail"])
    status, _ = await cloud.request("DELETE", f"/v1/api-jobs/{answer['uuid']}")
    assert status == 202
    await alice.log_in(cloud)
    assert (await cloud.send("CreateVmInstance", **alice.vm(cloud, "hers")))[0] == 202
    await cloud.log_in()
    await cancel_all(cloud)
    assert await cloud.query("VmInstance") == []


async def test_guests_that_ignore_the_power_button_hold_up_no_start(cloud: Cloud) -> None:
    mallory, alice = await tenant(cloud, "mallory"), await tenant(cloud, "alice")
    host = cloud.site["host-1"]
    await mallory.log_in(cloud)
    vms = [await cloud.call("CreateVmInstance", **mallory.vm(cloud, f"m{n}"), host_uuid=host) for n in range(12)]
    cloud.agents.dials.turn(Dial(command="vm.stop", delay_seconds=60, slow=True))
    for vm in vms:
        await cloud.send("StopVmInstance", uuid=vm["uuid"])
    await cloud.quiet(1)
    queues = {report.key: len(report.running) for report in cloud.node.context.queues.inspect("host")}
    assert queues == {f"host-agent-idle:{host}": 12}

    await alice.log_in(cloud)
    began = cloud.clock.monotonic()
    await cloud.call("CreateVmInstance", **alice.vm(cloud, "hers"), host_uuid=host)

    assert cloud.clock.monotonic() - began < 10
    await cloud.quiet(120)
    await cloud.log_in()
    assert len(await cloud.query("VmInstance", "state=Stopped")) == 12


async def test_account_s_slow_work_on_a_host_leaves_places_to_others(cloud: Cloud) -> None:
    mallory, alice = await tenant(cloud, "mallory"), await tenant(cloud, "alice")
    host = cloud.site["host-1"]
    await mallory.log_in(cloud)
    vms = [await cloud.call("CreateVmInstance", **mallory.vm(cloud, f"m{n}"), host_uuid=host) for n in range(12)]
    cloud.agents.dials.turn(Dial(command="vm.pause", delay_seconds=60, slow=True))
    for vm in vms:
        await cloud.send("PauseVmInstance", uuid=vm["uuid"])
    await cloud.quiet(1)
    (queue,) = cloud.node.context.queues.inspect("host-agent:")
    assert (len(queue.running), len(queue.waiting)) == (8, 4)

    await alice.log_in(cloud)
    began = cloud.clock.monotonic()
    await cloud.call("CreateVmInstance", **alice.vm(cloud, "hers"), host_uuid=host)

    assert cloud.clock.monotonic() - began < 10
    await cloud.quiet(180)
    await cloud.log_in()
    assert len(await cloud.query("VmInstance", "state=Paused")) == 12
