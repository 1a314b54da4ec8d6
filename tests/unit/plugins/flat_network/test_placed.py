from __future__ import annotations

from cairn.plugins.flat_network.placed import hosts_of, names_of
from cairn.services.host.model import HostClaim
from cairn.services.ids import L3NetworkId
from cairn.testing.cloud import Cloud


async def test_vms_that_are_to_run_are_placed_where_they_have_their_claim() -> None:
    async with Cloud.open(hosts=2) as cloud:
        site = await cloud.make_site()
        l3 = L3NetworkId(site["l3"])
        first, second = [await cloud.create_vm(f"vm-{key}", host_uuid=site[key]) for key in ("host-1", "host-2")]
        await cloud.create_vm("off", strategy="CreateStopped")
        hosts, names = cloud.read_now(lambda tx: names_of(tx, l3))
        assert hosts == set(cloud.read_now(lambda tx: hosts_of(tx, l3))) == {site["host-1"], site["host-2"]}
        assert sorted(names.values()) == ["vm-host-1", "vm-host-2"]

        await cloud.call("StopVmInstance", uuid=first["uuid"])
        assert cloud.read_now(lambda tx: hosts_of(tx, l3)) == [site["host-2"]]

        await cloud.store.write(lambda tx: tx.update(HostClaim, str(second["uuid"]), starts=False))
        assert cloud.read_now(lambda tx: names_of(tx, l3)) == (set(), {})
