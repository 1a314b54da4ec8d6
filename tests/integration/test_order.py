"""What is asked of one resource happens in the order in which it was asked, from its creation on, whatever dies meanwhile."""

from __future__ import annotations

import pytest

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.run import FlowProbe
from cairn.simulator.dials import Dial
from cairn.testing.cloud import Cloud, Refused

VM = "f" * 32


async def begin_vm(cloud: Cloud, **more: object) -> str:
    """Ask for the VM `VM`; its job."""
    fields: dict[str, object] = {
        "resource_uuid": VM,
        "name": "web",
        "cpu_num": 1,
        "memory_size": 64 << 20,
        "image_uuid": cloud.site["image"],
        "l3_network_uuids": [cloud.site["l3"]],
    }
    status, answer = await cloud.send("CreateVmInstance", **(fields | more))
    assert status == 202, answer
    return str(answer["uuid"])


async def begin(cloud: Cloud, api: str, uuid: str = VM, **fields: object) -> str:
    status, answer = await cloud.send(api, uuid=uuid, **fields)
    assert status == 202, answer
    return str(answer["uuid"])


async def ending(cloud: Cloud, job: str) -> str:
    """How a job ends: Succeeded, or the code of its error."""
    try:
        await cloud.finish(job)
    except Refused as refused:
        return refused.code
    return "Succeeded"


async def state(cloud: Cloud) -> str | None:
    rows = await cloud.query("VmInstance", f"uuid={VM}")
    return str(rows[0]["state"]) if rows else None


def running(cloud: Cloud) -> list[str]:
    return [uuid for host in cloud.world.hosts.values() for uuid in host.vms]


@pytest.mark.parametrize("killed", [False, True])
async def test_calls_that_come_right_after_a_creation_wait_for_it(killed: bool) -> None:
    async with Cloud.open(hosts=2) as cloud:
        await cloud.make_site()
        made = await begin_vm(cloud)
        stopped = await begin(cloud, "StopVmInstance")
        started = await begin(cloud, "StartVmInstance")
        destroyed = await begin(cloud, "DestroyVmInstance")
        if killed:
            await cloud.revive()

        assert [await ending(cloud, job) for job in (made, stopped, started, destroyed)] == ["Succeeded"] * 4

        assert await state(cloud) == "Destroyed"
        assert running(cloud) == []


async def test_the_uuid_is_taken_from_the_moment_the_creation_was_accepted() -> None:
    async with Cloud.open(hosts=1) as cloud:
        await cloud.make_site()
        made = await begin_vm(cloud)
        status, answer = await cloud.send("CreateZone", resource_uuid=VM, name="thief")
        assert (status, answer["code"]) == (409, "resource.uuid-taken")
        assert await ending(cloud, made) == "Succeeded"
        (row,) = await cloud.query("Resource", f"uuid={VM}")
        assert (row["type"], row["name"], row["jobUuid"]) == ("VmInstance", "web", made)


async def test_what_waits_for_a_creation_that_fails_finds_nothing() -> None:
    async with Cloud.open(hosts=1) as cloud:
        await cloud.make_site()
        cloud.agents.dials.turn(Dial(command="vm.start", delay_seconds=5, error_rate=1.0))
        made = await begin_vm(cloud)
        stopped = await begin(cloud, "StopVmInstance")
        destroyed = await begin(cloud, "DestroyVmInstance")

        assert await ending(cloud, made) not in ("Succeeded", "vm.not-found")
        assert await ending(cloud, stopped) == "vm.not-found"
        assert await ending(cloud, destroyed) == "Succeeded"
        assert await cloud.query("Resource", f"uuid={VM}") == []


async def test_what_never_began_leaves_its_uuid_free() -> None:
    async with Cloud.open(hosts=1) as cloud:
        await cloud.make_site()
        cloud.agents.dials.turn(Dial(command="vm.start", error_rate=1.0))
        made = await begin_vm(cloud)
        assert await ending(cloud, made) != "Succeeded"
        cloud.agents.dials.clear()
        assert await ending(cloud, await begin_vm(cloud)) == "Succeeded"


async def test_another_account_sees_nothing_of_a_creation_under_way() -> None:
    async with Cloud.open(hosts=1) as cloud:
        await cloud.make_site()
        await cloud.call("CreateAccount", name="mallory", password="pw-of-mallory")
        made = await begin_vm(cloud)
        admin = cloud._session
        await cloud.log_in("mallory", "pw-of-mallory")
        status, answer = await cloud.send("StopVmInstance", uuid=VM)
        assert (status, answer["code"]) == (404, "vm.not-found")
        cloud._session = admin
        assert await ending(cloud, made) == "Succeeded"
        assert await state(cloud) == "Running"


async def test_a_waiting_job_does_not_overtake_the_one_that_was_half_done() -> None:
    async with Cloud.open(hosts=2) as cloud:
        await cloud.make_site()
        await ending(cloud, await begin_vm(cloud))
        cloud.agents.dials.turn(Dial(command="vm.stop", delay_seconds=30))
        jobs = [await begin(cloud, "StopVmInstance")]
        await cloud.quiet(1)
        jobs.append(await begin(cloud, "DestroyVmInstance"))
        jobs.append(await begin(cloud, "UpdateVmInstance", name="b"))
        await cloud.quiet(1)

        await cloud.revive()

        assert [await ending(cloud, job) for job in jobs] == ["Succeeded"] * 3
        assert await state(cloud) == "Destroyed"


async def test_an_undo_that_was_owed_before_the_kill_never_takes_a_later_start_along() -> None:
    async with Cloud.open(hosts=1) as cloud:
        await cloud.make_site()
        await ending(cloud, await begin_vm(cloud))
        await ending(cloud, await begin(cloud, "StopVmInstance"))
        for command in ("vm.start", "vm.destroy"):
            cloud.agents.dials.turn(Dial(command=command, error_rate=1.0))
        assert await ending(cloud, await begin(cloud, "StartVmInstance")) != "Succeeded"
        assert [row["state"] for row in await cloud.query("WorkflowRun")] == ["UndoFailed"]
        async with cloud.held():  # the kill comes right after the commit that accepts the next job
            again = await begin(cloud, "StartVmInstance")
            cloud.agents.dials.clear()
            await cloud.revive()

        assert await ending(cloud, again) == "Succeeded"
        await cloud.quiet(120)
        assert await state(cloud) == "Running"
        assert running(cloud) == [VM]
        assert await cloud.query("WorkflowRun") == []


class FullDisk(FlowProbe):
    """A disk that takes no journal of a start while it is full."""

    def __init__(self) -> None:
        self.full = False
        self.refused = 0

    def journal(self, workflow: str, moment: str) -> None:
        if self.full and moment == "before" and workflow == "vm.start":
            self.refused += 1
            raise CairnError("store.full", "The disk is full.", kind=ErrorKind.EXHAUSTED)


async def test_what_waits_behind_an_undo_that_cannot_be_written_goes_on_waiting() -> None:
    disk = FullDisk()
    async with Cloud.open(hosts=1, probe=disk) as cloud:
        await cloud.make_site()
        await ending(cloud, await begin_vm(cloud))
        await ending(cloud, await begin(cloud, "StopVmInstance"))
        cloud.agents.dials.turn(Dial(command="vm.start", delay_seconds=3, error_rate=1.0))
        started = await begin(cloud, "StartVmInstance")
        await cloud.quiet(1)
        destroyed = await begin(cloud, "DestroyVmInstance")
        disk.full = True
        await cloud.quiet(3)
        assert disk.refused > 0
        assert await state(cloud) == "Starting"
        disk.full = False
        cloud.agents.dials.clear()

        assert await ending(cloud, started) not in ("Succeeded", "store.full")
        assert await ending(cloud, destroyed) == "Succeeded"
        assert await state(cloud) == "Destroyed"
        assert running(cloud) == []


async def test_a_host_is_disabled_at_once_however_long_its_commands_take() -> None:
    async with Cloud.open(hosts=1) as cloud:
        await cloud.make_site()
        cloud.agents.dials.turn(Dial(command="storage.create-volume", delay_seconds=600))
        await begin_vm(cloud)
        await cloud.quiet(1)
        began = cloud.clock.monotonic()
        await cloud.call("ChangeHostState", uuid=cloud.site["host-1"], state_event="disable")
        assert cloud.clock.monotonic() - began < 60


async def test_what_is_done_to_a_host_and_what_its_agent_does_take_their_turns_apart() -> None:
    async with Cloud.open(hosts=1) as cloud:
        await cloud.make_site()
        host = cloud.site["host-1"]
        cloud.agents.dials.turn(Dial(command="storage.create-volume", delay_seconds=30))
        cloud.agents.dials.turn(Dial(command="host.connect", delay_seconds=30))
        await begin_vm(cloud)
        await cloud.quiet(1)
        jobs = [await begin(cloud, "ReconnectHost", uuid=host), await begin(cloud, "ReconnectHost", uuid=host)]
        await cloud.quiet(1)

        queues = cloud.node.context.queues.inspect("host")
        names = {queue.key: [entry.name for entry in (*queue.running, *queue.waiting)] for queue in queues}
        assert names == {
            f"host-agent:{host}": ["storage.create-volume"],
            f"host:{host}": ["host.reconnect", "host.reconnect"],
        }
        began = cloud.clock.monotonic()
        await cloud.call("ChangeHostState", uuid=host, state_event="disable")
        assert cloud.clock.monotonic() - began < 10
        assert [await ending(cloud, job) for job in jobs] == ["Succeeded", "Succeeded"]
