from __future__ import annotations

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.store.store import Tx
from cairn.services.host.model import HostDebt
from cairn.services.host.provided import FILE_DEBT, HostDebts
from cairn.services.ids import HostId
from cairn.testing.cloud import Cloud
from cairn.testing.mortal import ORIGIN

LOST = CairnError("agent.unreachable", "It does not answer.", kind=ErrorKind.UNAVAILABLE)


async def owe(cloud: Cloud, host: str, *things: tuple[str, str]) -> None:
    debts = cloud.node.context.need(HostDebts)

    def fn(tx: Tx) -> None:
        for kind, what in things:
            debts.owe(tx, HostId(host), kind, what, LOST)

    await cloud.node.context.store.write(fn)


def owed(cloud: Cloud) -> list[tuple[str, str]]:
    return sorted(cloud.read_now(lambda tx: [(row.host_uuid, row.what) for row in tx.find(HostDebt)]))


async def test_a_thing_is_owed_once_and_by_hosts_that_there_are() -> None:
    async with Cloud.open(hosts=1) as cloud:
        host = (await cloud.make_site())["host-1"]
        for _ in range(2):
            await owe(cloud, host, ("file", "/a"), ("vm", "v"))
        await owe(cloud, "f" * 32, ("file", "/a"))
        assert owed(cloud) == [(host, "/a"), (host, "v")]
        (row, *_) = cloud.read_now(lambda tx: tx.find(HostDebt, kind="file"))
        assert (row.host_name, row.management_ip, row.reason) == ("sim-0001", "10.0.0.1", str(LOST))


async def test_what_cannot_be_collected_stays_and_the_rest_is_collected() -> None:
    async with Cloud.open(hosts=1) as cloud:
        host = (await cloud.make_site())["host-1"]
        await owe(cloud, host, ("unheard-of", "x"), (FILE_DEBT, "/etc/passwd"), ("vm", "a" * 32))
        await cloud.call("ReconnectHost", uuid=host)
        assert owed(cloud) == [(host, "/etc/passwd"), (host, "x")]
        (fault,) = await cloud.query("HostFault")
        assert fault["kind"] == "debts"
        (shown,) = await cloud.query("Host")
        assert shown["status"] == "Connected"


async def test_a_machine_owes_what_it_owed_as_another_host() -> None:
    async with Cloud.open(hosts=1) as cloud:
        site = await cloud.make_site()
        await owe(cloud, site["host-1"], ("unheard-of", "x"), ("unheard-of", "y"))
        cloud.transport.dead.add(f"{ORIGIN}/hosts/sim-0001")
        await cloud.call("DeleteHost", uuid=site["host-1"], delete_mode="Enforcing")
        cloud.transport.dead.clear()
        again = await cloud.call(
            "AddSimulatorHost",
            name="again",
            management_ip="10.0.0.9",
            cluster_uuid=site["cluster"],
            url=f"{ORIGIN}/hosts/sim-0001",
        )
        assert owed(cloud) == [(again["uuid"], "x"), (again["uuid"], "y")]
