from __future__ import annotations

import pytest
from tests.unit.cli.fakes import VM, ZONE, FakeNode
from tests.unit.cli.up.fakes import FakeCloud

from cairn.cli.client import Client
from cairn.cli.errors import CliError
from cairn.cli.up.api import ClientApi, ensure, run, uuid_of, uuids_in


@pytest.fixture
def api(client: Client) -> ClientApi:
    client.log_in("admin", "secret")
    return ClientApi(client)


def test_resources_are_found_by_conditions(api: ClientApi, node: FakeNode) -> None:
    assert [uuid_of(zone) for zone in api.find("Zone", "name=zone")] == [ZONE]
    assert node.seen[-1].query["q"] == ["name=zone"]


def test_a_call_ends_with_the_inventory_in_its_result(api: ClientApi) -> None:
    made = run(api, "CreateVmInstance", {"name": "web", "imageUuid": "2" * 32, "l3NetworkUuids": ["3" * 32]})
    assert made == {"uuid": VM, "name": "web"}


def test_a_result_without_an_inventory_is_given_as_it_is(api: ClientApi, node: FakeNode) -> None:
    node.jobs = [{"state": "Succeeded", "result": {"freed": 3}}]
    assert run(api, "StopVmInstance", {"uuid": VM}) == {"freed": 3}


def test_a_job_that_fails_is_an_error(api: ClientApi, node: FakeNode) -> None:
    node.jobs = [{"state": "Failed", "error": {"code": "vm.no", "detail": "No."}}]
    with pytest.raises(CliError) as caught:
        run(api, "StopVmInstance", {"uuid": VM})
    assert caught.value.problem.code == "vm.no"


def test_what_is_there_is_not_made_again() -> None:
    cloud = FakeCloud()
    first = ensure(cloud, "Zone", "CreateZone", "main", {"description": "x"})
    assert ensure(cloud, "Zone", "CreateZone", "main", {}) == first
    assert cloud.calls == ["CreateZone"]
    assert ensure(cloud, "Zone", "CreateZone", "main", {}, "description=y") != first


def test_a_list_of_uuids_that_is_not_there_is_empty() -> None:
    assert uuids_in({"zones": ["a", "b"]}, "zones") == ["a", "b"]
    assert uuids_in({"zones": None}, "zones") == uuids_in({}, "zones") == []
