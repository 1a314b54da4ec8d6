from __future__ import annotations

import pytest
from tests.unit.services.host.host_calls import add, cluster
from tests.unit.services.image_site import ORIGIN, Site

from cairn.kernel.error import CairnError
from cairn.plugins.simulator.driver import TYPE
from cairn.plugins.simulator.model import SimulatorHost
from cairn.services.host.extensions import Hypervisor
from cairn.services.host.messages import DeleteHost


def driver(site: Site) -> Hypervisor:
    return site.context.extensions.named(Hypervisor, TYPE)


async def test_a_host_is_called_where_it_is_played_as_long_as_it_is_there(site: Site) -> None:
    host = (await site.call(add(site, await cluster(site), "sim-0002"))).uuid
    endpoint = await site.context.store.read(lambda tx: driver(site).endpoint(tx, host))
    await site.call(DeleteHost(uuid=host))

    assert endpoint.base_url == f"{ORIGIN}/hosts/sim-0002"
    assert await site.rows(SimulatorHost) == []
    with pytest.raises(CairnError) as caught:
        await site.context.store.read(lambda tx: driver(site).endpoint(tx, host))
    assert caught.value.code == "host.not-found"


async def test_nothing_is_put_on_a_machine_that_is_played_or_taken_away(site: Site) -> None:
    host = (await site.call(add(site, await cluster(site)))).uuid
    sent = len(site.transport.requests)
    for _ in range(2):
        await driver(site).deploy(host)
        await driver(site).remove(host)

    assert (len(site.transport.requests), site.installer.installed, site.installer.taken_off) == (sent, [], [])
