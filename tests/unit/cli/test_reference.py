from __future__ import annotations

import msgspec
import pytest
from tests.unit.cli.fakes import SCHEMA

from cairn.cli.reference import options, reference
from cairn.cli.schema import Schema, decode


@pytest.fixture(scope="module")
def schema() -> Schema:
    return decode(msgspec.json.encode(SCHEMA))


def told(schema: Schema, command: str) -> list[str]:
    return reference(schema, schema.by_command[command]).splitlines()


def test_needed_parameters_stand_in_the_usage_and_come_first(schema: Schema) -> None:
    lines = told(schema, "create-vm-instance")
    assert lines[0] == "Usage: cairn create-vm-instance name=… imageUuid=… l3NetworkUuids=… [key=value …] [OPTIONS]"
    assert lines.index("Needed:") < lines.index("  name  text of 1 to 255 characters") < lines.index("Optional:")


@pytest.mark.parametrize(
    "line",
    [
        "  imageUuid  uuid or name of Image",
        "  l3NetworkUuids  list of uuid or name of L3Network",
        "  memorySize  size",
        "  strategy  InstantStart | CreateStopped",
        "      default: InstantStart",
        "      default: true",
        "      .size  size",
        "  cpuNum  a whole number from 1 to 1024",
    ],
)
def test_each_parameter_says_what_fits(schema: Schema, line: str) -> None:
    assert line in told(schema, "create-vm-instance")


def test_secrets_are_marked(schema: Schema) -> None:
    assert "  password  text (secret)" in told(schema, "add-kvm-host")


def test_a_call_says_how_it_is_answered_and_whose_it_is(schema: Schema) -> None:
    assert "POST /v1/vm-instances (a job: it ends in success, or with everything undone; for any account)" in told(
        schema, "create-vm-instance"
    )
    assert any("answered at once" in line for line in told(schema, "get-ip-address-capacity"))


def test_an_empty_list_is_no_default_worth_a_line(schema: Schema) -> None:
    lines = told(schema, "create-vm-instance")
    assert not lines[lines.index("  systemTags  text") + 1].strip().startswith("default")


def test_how_values_are_written_is_said_once() -> None:
    assert "128M" in options()
    assert "@FILE" in options()
