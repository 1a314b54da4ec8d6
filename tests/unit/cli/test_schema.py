from __future__ import annotations

import msgspec
import pytest
from tests.unit.cli.fakes import SCHEMA

from cairn.cli.schema import Param, Schema, decode, nearest


@pytest.fixture(scope="module")
def schema() -> Schema:
    return decode(msgspec.json.encode(SCHEMA))


@pytest.mark.parametrize("name", ["create-vm-instance", "CreateVmInstance"])
def test_an_api_is_known_by_both_of_its_names(schema: Schema, name: str) -> None:
    api = schema.api(name)
    assert api is not None
    assert api.name == "CreateVmInstance"
    assert schema.api("create") is None


@pytest.mark.parametrize("name", ["VmInstance", "vm-instance", "vm_instances", "VMINSTANCES"])
def test_an_entity_is_known_in_any_case_with_dashes_and_in_plural(schema: Schema, name: str) -> None:
    entity = schema.entity(name)
    assert entity is not None
    assert entity.name == "VmInstance"
    assert schema.entity("vm") is None


def test_a_field_is_found_over_joins(schema: Schema) -> None:
    field = schema.field_at("VmInstance", "vmNics.l3Network.name")
    assert field is not None
    assert field.name == "name"
    assert schema.field_at("VmInstance", "state") is schema.by_entity["VmInstance"].by_field["state"]
    for path in ("vmNics.none", "none.name", "vmNics.none.name", ""):
        assert schema.field_at("VmInstance", path) is None
    assert schema.field_at("Nothing", "name") is None


def test_what_a_parameter_refers_to_is_declared_or_told_by_the_path(schema: Schema) -> None:
    create, destroy = schema.by_command["create-vm-instance"], schema.by_command["destroy-vm-instance"]
    image, gone, name = create.param("imageUuid"), destroy.param("uuid"), create.param("name")
    assert image is not None
    assert gone is not None
    assert name is not None
    assert schema.referred(create, image) == "Image"
    assert schema.referred(destroy, gone) == "VmInstance"
    assert schema.referred(create, name) is None
    assert create.param("none") is None


@pytest.mark.parametrize(
    ("param", "is_bytes"),
    [
        (Param(name="memorySize", type="integer"), True),
        (Param(name="limit", type="integer", doc="bytes a second"), True),
        (Param(name="cpuNum", type="integer"), False),
        (Param(name="size", type="text"), False),
    ],
)
def test_sizes_are_told_by_their_names_or_what_is_said_of_them(param: Param, is_bytes: bool) -> None:
    assert param.is_bytes is is_bytes


def test_what_is_near_is_asked_for_and_what_is_not_is_no_question() -> None:
    assert nearest("zoen", ["zone", "host"]) == " Did you mean zone?"
    assert nearest("xyz", ["zone", "host"]) == ""
