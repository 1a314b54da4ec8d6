"""What a cloud does every day costs the same however much there is in it: no statement of that reads a whole table."""

from __future__ import annotations

import pytest
from tests.flows.statements import noted, whole_tables

from cairn.simulator.dials import Dial
from cairn.testing.cloud import Cloud
from cairn.testing.stores import on_mariadb

pytestmark = pytest.mark.skipif(on_mariadb(), reason="it plans for the few rows of a test; SQLite can be told not to")

HOUR = 3600.0
#: what is kept for weeks is kept for a minute
SOON = {
    ("vm", "expungePeriod"): "60",
    ("vm", "expungeInterval"): "60",
    ("image", "expunge.after"): "1",
    ("job", "retention"): "60",
    ("event", "retention"): "60",
}
#: what looks at all hosts, and holds up nobody: which to watch, once an interval; and each hour, whether one is not as the
#: settings say
LOOKS = ("host: SELECT host.uuid \nFROM host", "host: SELECT host.uuid \nFROM host \nWHERE host.memory_bytes > ")


def costly(cloud: Cloud, statements: set[str]) -> list[str]:
    return [one for one in whole_tables(cloud, statements) if not (one == LOOKS[0] or one.startswith(LOOKS[1]))]


async def test_a_host_that_is_lost_and_comes_back_and_a_guest_that_dies(cloud: Cloud) -> None:
    vm = await cloud.create_vm("web", host_uuid=cloud.site["host-1"])
    await cloud.quiet(60)  # what is summed up anew when a node starts
    with noted() as statements:
        assert cloud.agents.kill_vm("sim-0001", str(vm["uuid"]))
        await cloud.quiet(120)
        cloud.agents.dials.turn(Dial(host="sim-0001", dead=True))
        await cloud.quiet(300)
        cloud.agents.dials.clear()
        cloud.agents.restart_agent("sim-0002")
        await cloud.quiet(600)

    assert any(sql.startswith("UPDATE host ") for sql in statements)
    assert costly(cloud, statements) == []


async def test_what_is_old_is_looked_for_and_removed(cloud: Cloud) -> None:
    for (category, name), value in SOON.items():
        await cloud.call("UpdateGlobalConfig", category=category, name=name, value=value)
    vm = await cloud.create_vm("web")
    await cloud.call("DestroyVmInstance", uuid=vm["uuid"])
    await cloud.quiet(60)
    with noted() as statements:
        await cloud.quiet(300)
        await cloud.call("DeleteImage", uuid=cloud.site["image"])
        await cloud.quiet(HOUR)

    for table in ("job", "event", "vm_instance", "image"):
        assert any(sql.startswith(f"DELETE FROM {table} ") for sql in statements), table
    assert any("FROM session" in sql and "expired_date <=" in sql for sql in statements)
    assert costly(cloud, statements) == []
