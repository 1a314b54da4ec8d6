from __future__ import annotations

from tests.unit.services.host.host_calls import cluster
from tests.unit.services.image_site import Site, private_key

from cairn.plugins.kvm.messages import AddKVMHost, UpdateKVMHost
from cairn.plugins.kvm.model import KvmHost
from cairn.services.cluster.messages import HypervisorType
from cairn.services.host.messages import DeleteHost, ReconnectHost
from cairn.services.host.model import Host


async def add(site: Site, **given: object) -> AddKVMHost:
    """The call that adds a simulated machine as a KVM host."""
    fields: dict[str, object] = {
        "resource_uuid": site.ids.new(),
        "name": "real",
        "management_ip": "sim-0001",
        "cluster_uuid": await cluster(site, HypervisorType.KVM),
        "password": "secret",
    }
    return AddKVMHost(**{**fields, **given})  # type: ignore[arg-type]


async def test_a_machine_is_made_a_host(site: Site) -> None:
    host = (await site.call(await add(site, username="admin"))).uuid

    ((playbook, uuid, target, settings),) = site.installer.installed
    assert (playbook, uuid, settings) == ("kvm.yml", host, {"port": 7070})
    assert (target.host, target.port, target.username, target.password) == ("sim-0001", 22, "admin", "secret")
    shown = await site.shown("KVMHost", host)
    assert (shown["status"], shown["hypervisorType"], shown["sshPort"]) == ("Connected", "KVM", 22)
    assert not {"password", "privateKey"} & shown.keys()


async def test_without_a_way_to_log_in_it_is_refused(site: Site) -> None:
    await site.refused(await add(site, password=None), "ssh.no-login")

    assert site.installer.installed == []


async def test_a_new_login_and_address_are_used_from_the_next_connect_on(site: Site) -> None:
    host = (await site.call(await add(site, private_key=private_key()))).uuid
    await site.call(UpdateKVMHost(uuid=host, name="new", management_ip="sim-0002", password="other"))
    await site.refused(ReconnectHost(uuid=host), "host.machine-changed")
    untouched = len(site.installer.installed)
    await site.call(ReconnectHost(uuid=host, accept_machine=True, redeploy=True))

    assert untouched == 1, "another machine answers at the new address: nothing was done to it"
    row = await site.row(KvmHost, host)
    assert (row.password, row.private_key, row.username) == ("other", None, "root")
    assert (await site.row(Host, host)).name == "new"
    assert site.installer.installed[-1][2].host == "sim-0002"


async def test_deleting_takes_the_agent_and_all_that_is_known_of_the_machine_away(site: Site) -> None:
    host = (await site.call(await add(site))).uuid

    await site.call(DeleteHost(uuid=host))

    assert site.installer.taken_off == [("remove.yml", host)]
    assert site.installer.forgotten[-1] == host
    assert await site.rows(KvmHost) == []
