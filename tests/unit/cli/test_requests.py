from __future__ import annotations

import msgspec
import pytest
from tests.unit.cli.fakes import NET, SCHEMA, VM, ZONE

from cairn.cli.requests import build, shown
from cairn.cli.schema import Schema, decode


@pytest.fixture(scope="module")
def schema() -> Schema:
    return decode(msgspec.json.encode(SCHEMA))


def test_action_names_its_resource_in_the_path_and_itself_in_the_body(schema: Schema) -> None:
    request = build(schema.by_command["stop-vm-instance"], {"uuid": VM, "type": "cold"})
    assert (request.verb, request.path) == ("PUT", f"/v1/vm-instances/{VM}/actions")
    assert request.body == {"stopVmInstance": {"type": "cold"}}


def test_removal_has_its_parameters_in_the_query_string(schema: Schema) -> None:
    request = build(schema.by_command["destroy-vm-instance"], {"uuid": VM, "deleteMode": "Enforcing"})
    assert request.target == f"/v1/vm-instances/{VM}?deleteMode=Enforcing"
    assert request.body is None


def test_read_repeats_lists_and_writes_truth_as_json_does(schema: Schema) -> None:
    request = build(schema.by_command["get-ip-address-capacity"], {"zoneUuids": [ZONE, NET], "all": True})
    assert request.query == (("zoneUuids", ZONE), ("zoneUuids", NET), ("all", "true"))


def test_path_is_escaped(schema: Schema) -> None:
    assert build(schema.by_command["destroy-vm-instance"], {"uuid": "a/b?c"}).path == "/v1/vm-instances/a%2Fb%3Fc"


def test_secrets_are_not_shown(schema: Schema) -> None:
    api = schema.by_command["add-kvm-host"]
    request = shown(api, build(api, {"name": "h", "password": "hunter2"}))
    assert request.body == {"params": {"name": "h", "password": "********"}}
