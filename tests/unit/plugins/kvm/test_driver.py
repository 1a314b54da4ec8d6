from __future__ import annotations

import pytest
from tests.unit.plugins.kvm.test_service import add
from tests.unit.services.image_site import Site

from cairn.kernel.error import CairnError
from cairn.plugins.kvm.driver import TYPE, KvmHypervisor
from cairn.services.host.extensions import Hypervisor
from cairn.services.host.model import Host


async def base_url(site: Site, host: str) -> str:
    driver = site.context.extensions.named(Hypervisor, TYPE)
    return (await site.context.store.read(lambda tx: driver.endpoint(tx, host))).base_url


async def test_the_agent_is_at_the_hosts_management_address_and_the_port_is_a_setting(site: Site) -> None:
    host = (await site.call(await add(site))).uuid
    urls = [await base_url(site, host)]
    await site.set("kvm", "agent.port", "7272")
    await site.context.store.write(lambda tx: tx.update(Host, host, management_ip="fd00::1"))
    urls.append(await base_url(site, host))

    assert urls == ["https://sim-0001:7070", "https://[fd00::1]:7272"]


async def test_one_that_is_not_there_has_no_address(site: Site) -> None:
    with pytest.raises(CairnError) as caught:
        await base_url(site, "f" * 32)
    assert caught.value.code == "host.not-found"


def test_the_playbooks_that_put_the_agent_there_and_take_it_away_are_shipped() -> None:
    assert [KvmHypervisor.playbook.with_name(name).is_file() for name in ("kvm.yml", "remove.yml")] == [True, True]
