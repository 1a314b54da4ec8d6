"""Subscribers that fail, in a whole cloud: the watch over hosts goes on, and what was set aside can be told again."""

from __future__ import annotations

from typing import cast

from tests.integration.test_events import listening

from cairn.services.host.model import Host
from cairn.services.vm.model import VmInstance
from cairn.simulator.dials import Dial
from cairn.testing.cloud import Cloud, Refused


async def two_hosts_with_vms(cloud: Cloud) -> None:
    await cloud.make_site()
    for number in (1, 2):
        await cloud.create_vm(f"on-{number}", host_uuid=cloud.site[f"host-{number}"])


def states(cloud: Cloud) -> dict[str, str]:
    return cloud.read_now(lambda tx: {vm.name: vm.state.value for vm in tx.find(VmInstance)})


async def test_host_that_cannot_be_asked_does_not_stop_the_watch_over_others() -> None:
    async with Cloud.open(hosts=2) as cloud:
        await two_hosts_with_vms(cloud)
        broken = Dial(host="sim-0001", command="vm.list", error_rate=1.0, error_code="agent.hypervisor")
        cloud.agents.dials.turn(broken)
        cloud.agents.restart_agent("sim-0001")
        await cloud.quiet(130)
        cloud.agents.dials.turn(Dial(host="sim-0002", dead=True))
        await cloud.quiet(300)

        assert states(cloud) == {"on-1": "Running", "on-2": "Unknown"}


async def test_what_was_set_aside_is_told_again_when_an_administrator_asks() -> None:
    async with Cloud.open(hosts=1) as cloud:
        await cloud.make_site()
        await cloud.create_vm("web")
        await cloud.call("UpdateGlobalConfig", category="event", name="delivery.maxTries", value="2")
        cloud.agents.dials.turn(Dial(host="sim-0001", command="vm.list", error_rate=1.0))
        cloud.agents.restart_agent("sim-0001")
        await cloud.quiet(300)
        await cloud.log_in()
        rows = await cloud.query("EventDelivery", "state=SetAside")
        assert [(row["subscriber"], row["name"], row["tries"]) for row in rows] == [
            ("vm.reconciler", "host.status-changed", 2)
        ]
        uuid = rows[0]["uuid"]
        assert [event["name"] for event in await cloud.query("Event", "name=event.set-aside")] == ["event.set-aside"]

        try:
            await cloud.call("RetryEventDelivery", uuid=uuid)
        except Refused as refused:
            assert refused.code == "event-delivery.failed"
        else:
            raise AssertionError("the host could not be asked")
        cloud.agents.dials.clear()
        await cloud.call("RetryEventDelivery", uuid=uuid)

        assert await cloud.query("EventDelivery") == []


async def test_host_that_is_deleted_while_its_event_is_owed_is_nothing_to_do() -> None:
    async with Cloud.open(hosts=2) as cloud:
        await cloud.make_site()
        cloud.agents.dials.turn(Dial(host="sim-0002", command="vm.list", error_rate=1.0))
        await cloud.call("ReconnectHost", uuid=cloud.site["host-2"])
        await cloud.quiet(5)
        assert [row["state"] for row in await cloud.query("EventDelivery")] == ["Owed"]

        await cloud.call("DeleteHost", uuid=cloud.site["host-2"])
        await cloud.quiet(300)

        assert await cloud.query("EventDelivery") == []
        assert cloud.read_now(lambda tx: tx.get(Host, cloud.site["host-2"])) is None


async def test_watch_goes_on_after_a_crash_with_what_is_owed() -> None:
    async with Cloud.open(hosts=2) as cloud:
        await two_hosts_with_vms(cloud)
        cloud.agents.dials.turn(Dial(host="sim-0001", command="vm.list", error_rate=1.0))
        await cloud.call("ReconnectHost", uuid=cloud.site["host-1"])
        await cloud.quiet(2)
        before = await cloud.query("EventDelivery")
        await cloud.revive()
        cloud.agents.dials.clear()
        await cloud.quiet(300)
        await cloud.log_in()

        assert [row["state"] for row in before] == ["Owed"]
        assert await cloud.query("EventDelivery") == []


async def test_stream_ends_with_the_account_that_opened_it() -> None:
    async with Cloud.open(hosts=1) as cloud:
        await cloud.make_site()
        account = await cloud.call("CreateAccount", name="op", password="pw-of-op-12", type="SystemAdmin")
        await cloud.log_in("op", "pw-of-op-12")
        session = cloud.save().session
        await cloud.log_in()
        async with listening(cloud, "", session) as stream:
            await cloud.call("ChangeAccountState", uuid=account["uuid"], state_event="disable")
            await cloud.create_vm("secret-project")
            await cloud.quiet(20)

            assert b"secret-project" not in stream.text
            assert b"event: closed" in stream.text
            assert cast("str", stream.events[-1]["code"]) == "auth.expired"
