from __future__ import annotations

from typing import Any

import msgspec
from tests.unit.gateway.world import World


async def schema(cloud: World) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode((await cloud.call("GET", "/v1/schema")).body)
    return decoded


async def test_api_is_described_for_completion(cloud: World) -> None:
    apis = {api["name"]: api for api in (await schema(cloud))["apis"]}
    create = apis["CreateBox"]
    params = {param["name"]: param for param in create["params"]}

    assert create["cliName"] == "create-box"
    assert create["doc"].startswith("Make a box. It is empty.\n\nErrors:")
    assert (create["verb"], create["path"], create["key"]) == ("POST", "/v1/boxes", "params")
    assert (create["isJob"], create["entity"], create["access"]) == (True, "Box", "account")
    assert not apis["WeighBoxes"]["isJob"]
    assert params["name"] == {
        "name": "name",
        "type": "text",
        "required": True,
        "doc": "what people call it",
        "fits": "text of 1 to 255 characters, without control characters",
    }
    assert params["siteUuid"]["type"] == "uuid"
    assert params["siteUuid"]["refers"] == "Site"
    assert params["color"]["doc"] == "its color, to be seen from far away"
    assert params["color"]["enum"] == ["Red", "Blue"]
    assert params["color"]["default"] == "Red"
    assert params["near"] == {**params["near"], "many": True, "type": "uuid", "refers": "Site", "default": []}
    assert params["secret"]["secret"] is True
    assert params["labels"]["type"] == "object"
    assert [field["name"] for field in params["labels"]["fields"]] == ["textValue", "size"]
    assert params["labels"]["fields"][0]["doc"] == "what it says"
    assert params["resourceUuid"]["doc"].startswith("the new resource's uuid")
    rename = {param["name"]: param for param in apis["RenameBox"]["params"]}
    assert rename["uuid"]["inPath"] is True


async def test_entities_tell_fields_and_where_they_are(cloud: World) -> None:
    entities = {entity["name"]: entity for entity in (await schema(cloud))["entities"]}

    assert entities["Box"]["path"] == "/v1/boxes"
    assert entities["Box"]["owned"] is True
    color = next(field for field in entities["Box"]["fields"] if field["name"] == "color")
    assert color["kind"] == "enum"
    assert color["choices"] == ["Red", "Blue"]
    assert entities["Event"]["path"] == "/v1/event-log"


async def test_settings_tell_their_bounds(cloud: World) -> None:
    assert (await schema(cloud))["settings"] == [
        {
            "category": "box",
            "name": "paint.seconds",
            "doc": "how long paint dries",
            "type": "integer",
            "default": 60,
            "unit": "s",
            "minimum": 1.0,
            "maximum": 3600.0,
        }
    ]


async def test_schema_is_worked_out_once(cloud: World) -> None:
    first = cloud.gateway._metadata.body()

    assert cloud.gateway._metadata.body() is first
