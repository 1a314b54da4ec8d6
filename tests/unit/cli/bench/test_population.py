from __future__ import annotations

from collections import Counter

import pytest

from cairn.bootstrap import load_plugins
from cairn.cli.bench.population import Population, Size
from cairn.kernel.assembly import make_schema
from cairn.kernel.ids import is_uuid
from cairn.kernel.settings import load
from cairn.kernel.store.record import Record, info
from cairn.services.vm.model import VmInstance, VmState

SCHEMA = make_schema(load_plugins(load({})))
ADMIN = "a" * 32


def rows(size: Size) -> list[Record]:
    made = Population(size, ADMIN, SCHEMA, "hash")
    found = list(made.place())
    for number in range(size.hosts):
        found += made.host(number)
    for number in range(size.vms):
        found += made.vm(number)
    return found


def test_the_same_seed_makes_the_same_cloud_and_another_one_another() -> None:
    size = Size(hosts=3, vms=7, accounts=2)
    assert rows(size) == rows(size)
    other = Size(hosts=3, vms=7, accounts=2, seed=1)
    keys = [{getattr(row, "uuid", None) for row in rows(one)} - {None} for one in (size, other)]
    assert not keys[0] & keys[1]


def test_uuids_are_uuids_that_no_two_rows_share_and_lie_scattered() -> None:
    made = Population(Size(hosts=1, vms=1, accounts=1), ADMIN, SCHEMA, "hash")
    kinds = ("vm", "volume", "nic", "address", "host", "cache", "share", "l3", "storage", "storage-cluster")
    uuids = [made.uuid(kind, number) for kind in kinds for number in range(500)]
    assert len(set(uuids)) == len(uuids)
    assert all(map(is_uuid, uuids))
    beginnings = Counter(uuid[0] for uuid in uuids if uuid.endswith("f") or True)
    assert max(beginnings.values()) < 2 * min(beginnings.values())


@pytest.mark.parametrize(("hosts", "clusters", "zones"), [(1, 1, 1), (1000, 1, 1), (1001, 2, 1), (10_001, 11, 2)])
def test_a_large_cloud_has_more_clusters_and_zones(hosts: int, clusters: int, zones: int) -> None:
    size = Size(hosts=hosts, vms=0, accounts=1)
    assert (size.clusters, size.zones) == (clusters, zones)


def test_all_accounts_own_about_as_much_and_most_vms_run() -> None:
    made = Population(Size(hosts=10, vms=2000, accounts=4), ADMIN, SCHEMA, "hash")
    vms = [row for number in range(2000) for row in made.vm(number) if isinstance(row, VmInstance)]
    owned = Counter(vm.account_uuid for vm in vms)
    assert set(owned) == {made.account(number) for number in range(4)}
    assert all(400 < count < 600 for count in owned.values())
    assert 150 < sum(vm.state is VmState.STOPPED for vm in vms) < 250


def test_rows_of_a_plugin_that_is_left_out_are_left_out() -> None:
    schema = make_schema(load_plugins(load({"CAIRN_PLUGINS_DISABLED": "flat_network"})))
    made = Population(Size(hosts=1, vms=0, accounts=1), ADMIN, schema, "hash")
    tables = {info(type(row)).meta.table for row in made.place()}
    assert "l3_network" in tables
    assert "flat_dhcp_server" not in tables
