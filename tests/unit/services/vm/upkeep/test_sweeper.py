"""VMs that were destroyed long ago are expunged, and no others."""

from __future__ import annotations

from cairn.testing.cloud import Cloud

HOUR = 3600


async def test_destroyed_vms_are_expunged_when_their_time_is_over(cloud: Cloud) -> None:
    await cloud.call("UpdateGlobalConfig", category="vm", name="expungePeriod", value=str(3 * HOUR))
    await cloud.call("UpdateGlobalConfig", category="vm", name="expungeInterval", value=str(HOUR))
    kept = await cloud.create_vm("kept")
    await cloud.call("DestroyVmInstance", uuid=cloud.site["vm"])
    await cloud.quiet(2 * HOUR)
    await cloud.log_in()
    assert len(await cloud.query("VmInstance", "state=Destroyed")) == 1
    await cloud.quiet(3 * HOUR)
    await cloud.log_in()
    assert [row["uuid"] for row in await cloud.query("VmInstance")] == [kept["uuid"]]
    assert len(await cloud.query("Volume")) == 1
    await cloud.quiet(2 * HOUR)
    await cloud.log_in()
    assert len(await cloud.query("Job", "api=ExpungeVmInstance")) == 1


async def test_interval_is_changed_at_once(cloud: Cloud) -> None:
    await cloud.call("UpdateGlobalConfig", category="vm", name="expungePeriod", value="60")
    await cloud.call("DestroyVmInstance", uuid=cloud.site["vm"])
    await cloud.call("UpdateGlobalConfig", category="vm", name="expungeInterval", value="30")
    await cloud.quiet(120)
    assert await cloud.query("VmInstance") == []
