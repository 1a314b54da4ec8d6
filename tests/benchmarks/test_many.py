"""What is done for many at a time costs each of them the same, however many they are: compared in one run.

Hosts that are added at once, jobs that a killed node left open, and pings. Counted as in `test_growth`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tests.benchmarks.meter import counted

from cairn.cli.bench.populate import fill
from cairn.cli.bench.population import Size
from cairn.cli.up.report import Report
from cairn.simulator.world import host_name
from cairn.testing.cloud import ORIGIN, Cloud

FEW, MANY = 10, 80
#: what one of many costs to one of few
MOST = 1.3


async def each(few: Callable[[int], Awaitable[dict[str, int]]]) -> dict[str, float]:
    """How much dearer each is where there are many, by what is counted; only what is too dear."""
    before, now = await few(FEW), await few(MANY)
    ratios = {what: (now[what] / MANY) / (before[what] / FEW) for what in before}
    return {what: round(ratio, 2) for what, ratio in ratios.items() if ratio >= MOST}


async def add_hosts(count: int) -> dict[str, int]:
    """Add so many hosts at once to a cluster whose hosts have tunnels to each other."""
    async with Cloud.open(hosts=count + 2) as cloud:
        site = await cloud.make_site(hosts=2)
        await cloud.quiet(30)
        async with cloud.held():
            for number in range(3, count + 3):
                name = host_name(number)
                status, _ = await cloud.send(
                    "AddSimulatorHost",
                    name=name,
                    management_ip=f"10.7.0.{number}",
                    cluster_uuid=site["cluster"],
                    url=f"{ORIGIN}/hosts/{name}",
                )
                assert status == 202
        with counted() as cost:
            await cloud.quiet(30)
        assert len(await cloud.query("Host", "status=Connected")) == count + 2
        ends = {len(host.bridges["br_vx_1001"].peers) for name, host in cloud.world.hosts.items() if name != "backup"}
        assert ends == {count + 1}
        return cost.of()


async def recover(count: int) -> dict[str, int]:
    """Do what a killed node had accepted and not begun; what a start costs without any of it is left out."""
    async with Cloud.open() as cloud:
        await cloud.make_site()
        await cloud.create_vm("warm")
        with counted() as start:
            await cloud.revive()
            await cloud.quiet(5)
        async with cloud.held():
            for number in range(count):
                status, _ = await cloud.send("CreateVmInstance", **cloud.vm_fields(f"vm-{number}"))
                assert status == 202
            cloud.die()
        with counted() as cost:
            await cloud.revive()
            await cloud.quiet(5)
        assert len(await cloud.query("VmInstance", "state=Running")) == count + 1
        nothing = start.of()
        return {what: number - nothing[what] for what, number in cost.of().items()}


async def ping(count: int) -> dict[str, int]:
    """Ping so many hosts three times each."""
    async with Cloud.open(hosts=count) as cloud:
        size = Size(hosts=count, vms=0, accounts=1, simulator_url=ORIGIN)
        await fill(cloud.node.context, size, Report(None), agents=cloud.node.context.agents)
        await cloud.revive()
        await cloud.quiet(120)
        pings = cloud.node.context.metrics.pings
        before = pings.value("host", "ok")
        with counted() as cost:
            await cloud.quiet(180)
        assert pings.value("host", "ok") - before == 3 * count
        return cost.of()


async def test_a_host_that_is_added_with_many_costs_what_one_costs_that_is_added_with_few() -> None:
    assert await each(add_hosts) == {}


async def test_a_job_that_is_recovered_with_many_costs_what_one_costs_that_is_recovered_with_few() -> None:
    assert await each(recover) == {}


async def test_a_ping_among_many_hosts_costs_what_one_costs_among_few() -> None:
    assert await each(ping) == {}
