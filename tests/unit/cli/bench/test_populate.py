from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.cli.conftest import Cli

from cairn.cli.bench.populate import fill
from cairn.cli.bench.population import Size
from cairn.cli.errors import CliError, Exit
from cairn.cli.up.report import Report
from cairn.kernel.config import GlobalConfigRow
from cairn.services.vm.model import VmInstance
from cairn.testing.cloud import ORIGIN, Cloud

SMALL = Size(hosts=2, vms=10, accounts=2)


async def test_a_cloud_is_written_with_its_books_in_order_and_can_be_asked() -> None:
    async with Cloud.open() as cloud:
        done = await fill(cloud.node.context, SMALL, Report(None), "secret word")
        assert (done.wrong, done.rows > 90) == ([], True)
        vms = await cloud.query("VmInstance", "host.cluster.name=cluster-0-0000001")
        assert {str(nic["ip"]) for vm in vms for nic in vm["vmNics"]}  # type: ignore[attr-defined]
        assert len(await cloud.query("VmInstance")) == 10
        interval = await cloud.store.read(
            lambda tx: tx.find(GlobalConfigRow, category="host", name="ping.interval")[0].value
        )
        assert interval == "3600"
        await cloud.log_in("account-0-0000001", "secret word")
        assert 0 < len(await cloud.query("VmInstance")) < 10


async def test_hosts_that_were_met_are_pinged_and_known() -> None:
    async with Cloud.open(hosts=3) as cloud:
        size = Size(hosts=3, vms=0, accounts=1, simulator_url=ORIGIN)
        await fill(cloud.node.context, size, Report(None), agents=cloud.node.context.agents)
        await cloud.kill()
        await cloud.start()
        await cloud.clock.advance(120)

        pings = cloud.node.context.metrics.pings
        assert (pings.value("host", "ok"), pings.value("host", "failed")) == (9, 0)
        assert await cloud.query("Job", "api=ReconnectHost") == []
        assert {host["status"] for host in await cloud.query("Host")} == {"Connected"}


async def test_beside_another_cloud_it_is_written_only_if_asked_for() -> None:
    async with Cloud.open() as cloud:
        await fill(cloud.node.context, SMALL, Report(None))
        with pytest.raises(CliError) as caught:
            await fill(cloud.node.context, SMALL, Report(None))
        assert caught.value.problem.code == "bench.not-empty"
        other = Size(hosts=1, vms=3, accounts=1, seed=2)
        assert (await fill(cloud.node.context, other, Report(None), add=True)).wrong == []
        assert await cloud.store.read(lambda tx: tx.count(VmInstance)) == 13


def test_the_command_fills_the_database_of_a_data_folder(cli: Cli, tmp_path: Path) -> None:
    ran = cli("bench", "populate", "--direct", "--hosts", "2", "--vms", "5", "--accounts", "1", "--json")
    assert ran.code == Exit.OK, ran.err
    told = json.loads(ran.out)
    assert (told["vms"], told["wrong"], told["store"]) == (5, [], "sqlite")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((), "bench.not-direct"),
        (("--direct", "--hosts", "1", "--vms", "401"), "bench.no-room"),
        (("--direct", "--hosts", "1", "--vms", "1", "--meet"), "bench.no-vms"),
    ],
)
def test_what_cannot_be_is_refused(cli: Cli, words: tuple[str, ...], code: str) -> None:
    ran = cli("bench", "populate", "--json", *words)
    assert (ran.code, json.loads(ran.err)["error"]["code"]) == (Exit.USAGE, code)
