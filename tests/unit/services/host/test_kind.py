from __future__ import annotations

import pytest
from sqlalchemy import Update
from tests.unit.services.host.host_calls import add, cluster
from tests.unit.services.image_site import Site

from cairn.kernel.api import DeleteMode
from cairn.kernel.event import EventRow
from cairn.kernel.store.store import Tx
from cairn.services.host.kind import note_change
from cairn.services.host.machine import HostStateEvent
from cairn.services.host.messages import ChangeHostState, DeleteHost
from cairn.services.host.model import Host, HostChanges, HostClaim
from cairn.services.ids import ClusterId, HostId, VmId


async def test_a_host_that_vms_hold_something_of_stays_even_when_enforcing(site: Site) -> None:
    host = (await site.call(add(site, await cluster(site)))).uuid
    claim = HostClaim(vm_uuid=VmId("v" * 32), host_uuid=HostId(host), cpu_num=1, memory_bytes=1)
    await site.context.store.write(lambda tx: tx.insert(claim))

    error = await site.refused(DeleteHost(uuid=host, delete_mode=DeleteMode.ENFORCING), "host.in-use")

    assert "1 VMs hold capacity of it" in error.message
    assert "use deleteMode=Enforcing" not in error.message
    assert (await site.row(Host, host)).state.value == "Enabled"


async def test_deleting_has_the_agent_forget_that_it_is_a_host(site: Site) -> None:
    host = (await site.call(add(site, await cluster(site)))).uuid
    before = site.host("sim-0001").host

    await site.call(DeleteHost(uuid=host))

    assert (before, site.host("sim-0001").host) == (host, None)
    assert await site.rows(Host) == []


async def test_an_agent_that_does_not_know_which_host_it_is_is_connected_again(site: Site) -> None:
    host = (await site.call(add(site, await cluster(site)))).uuid
    await site.watch()
    site.host("sim-0001").host = None
    await site.clock.advance(61)

    assert site.host("sim-0001").host == host
    told = [row.content["status"] for row in await site.rows(EventRow, name="host.status-changed")]
    assert told == ["Connected", "Connecting", "Connected"]


@pytest.mark.parametrize("event", [HostStateEvent.DISABLE, HostStateEvent.MAINTAIN])
async def test_a_host_in_maintenance_is_watched_like_any_other_and_not_tried_while_it_is_silent(
    site: Site, event: HostStateEvent
) -> None:
    host = (await site.call(add(site, await cluster(site)))).uuid
    await site.call(ChangeHostState(uuid=host, state_event=event))
    await site.watch()
    site.kill("sim-0001")
    await site.clock.advance(3600)

    assert (await site.row(Host, host)).status.value == "Disconnected"
    told = [row.content["status"] for row in await site.rows(EventRow, name="host.status-changed")]
    tried = told.count("Connecting") > 0
    assert tried == (event is HostStateEvent.DISABLE)


async def test_two_nodes_may_note_the_first_change_of_a_cluster_at_a_time(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = ClusterId(await cluster(site))
    await site.context.store.write(lambda tx: tx.insert(HostChanges(cluster_uuid=here, number=4)))
    execute, unseen = Tx.execute, [True]

    def late(tx: Tx, statement: Update, params: dict[str, object]) -> int:
        """The other node's row is not seen at first."""
        return 0 if unseen and unseen.pop() else execute(tx, statement, params)

    monkeypatch.setattr(Tx, "execute", late)

    await site.context.store.write(lambda tx: note_change(tx, here))

    assert [row.number for row in await site.rows(HostChanges)] == [5]
