from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from tests.unit.gateway.world import World


@pytest.fixture
async def api(cloud: World) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode((await cloud.call("GET", "/v1/openapi.json")).body)
    return decoded


def test_every_reference_leads_somewhere(api: dict[str, Any]) -> None:
    text = msgspec.json.encode(api).decode()

    for name in {*re.findall(r'"#/components/schemas/([^"]+)"', text)}:
        assert name in api["components"]["schemas"]


def test_operations_have_ids_of_their_own_and_declare_their_paths_variables(api: dict[str, Any]) -> None:
    seen: set[str] = set()
    for path, item in api["paths"].items():
        for operation in item.values():
            assert operation["operationId"] not in seen
            seen.add(operation["operationId"])
            declared = [one["name"] for one in operation["parameters"] if one["in"] == "path"]
            assert declared == re.findall(r"\{([^}]*)\}", path)
            assert "default" in operation["responses"]


def test_creation_describes_body_and_both_ways_of_answering(api: dict[str, Any]) -> None:
    operation = api["paths"]["/v1/boxes"]["post"]
    schema = api["components"]["schemas"]["CreateBox"]

    assert operation["operationId"] == "CreateBox"
    assert operation["summary"] == "Make a box."
    assert operation["requestBody"]["content"]["application/json"]["schema"]["required"] == ["params"]
    assert operation["responses"].keys() == {"202", "200", "default"}
    assert schema["required"] == ["name", "siteUuid"]
    assert "@message" not in schema["properties"]
    assert schema["properties"]["name"]["description"] == "what people call it"
    assert schema["properties"]["secret"]["writeOnly"] is True


def test_actions_of_one_path_are_one_operation_with_several_bodies(api: dict[str, Any]) -> None:
    operation = api["paths"]["/v1/boxes/{uuid}/actions"]["put"]
    bodies = operation["requestBody"]["content"]["application/json"]["schema"]["oneOf"]

    assert [*(body["required"][0] for body in bodies)] == ["renameBox", "shakeBox"]
    assert "/v1/boxes/{boxUuid}/actions" not in api["paths"]
    assert "uuid" not in api["components"]["schemas"]["RenameBox"]["properties"]


def test_query_fields_stand_in_the_query_string(api: dict[str, Any]) -> None:
    parameters = {one["name"]: one for one in api["paths"]["/v1/boxes/weight"]["get"]["parameters"]}

    assert parameters["each"]["required"] is True
    assert parameters["names"]["in"] == "query"


def test_login_needs_no_session(api: dict[str, Any]) -> None:
    assert api["paths"]["/v1/login"]["put"]["security"] == []
    assert "security" not in api["paths"]["/v1/boxes"]["post"]


def test_collection_describes_conditions_and_inventory(api: dict[str, Any]) -> None:
    operation = api["paths"]["/v1/boxes"]["get"]
    box = api["components"]["schemas"]["BoxInventory"]

    assert {one["name"] for one in operation["parameters"]} >= {"q", "limit", "start", "sort", "fields", "count"}
    assert box["properties"]["color"] == {"type": "string", "enum": ["Red", "Blue"]}
    assert box["properties"]["createDate"] == {"type": "string", "format": "date-time"}
    assert api["components"]["schemas"]["SiteInventory"]["properties"]["name"]["description"] == "what people call it"
