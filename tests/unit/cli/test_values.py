from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.cli.fakes import IMAGE, NET, SCHEMA, VM

from cairn.cli.client import Json
from cairn.cli.errors import CliError, Exit, usage
from cairn.cli.schema import Schema, decode
from cairn.cli.values import Values, size_of

NEEDED = ("name=web", "imageUuid=tiny", "l3NetworkUuids=flat")


@pytest.fixture(scope="module")
def schema() -> Schema:
    import msgspec

    return decode(msgspec.json.encode(SCHEMA))


def _resolve(entity: str, name: str) -> str:
    known = {("Image", "tiny"): IMAGE, ("L3Network", "flat"): NET, ("VmInstance", "web"): VM}
    if (entity, name) not in known:
        raise usage(f"There is no {entity} named {name!r}.")
    return known[entity, name]


def _parse(schema: Schema, command: str, *words: str) -> Json:
    return Values(schema, schema.by_command[command], _resolve, lambda name: f"content of {name}").parse(words)


def _wrong(schema: Schema, command: str, *words: str) -> dict[str, str]:
    with pytest.raises(CliError) as caught:
        _parse(schema, command, *words)
    assert caught.value.exit_code == Exit.USAGE
    return caught.value.problem.fields


def test_words_become_typed_values_and_names_become_uuids(schema: Schema) -> None:
    words = ("cpuNum=2", "memorySize=128M", "virtio=no", "strategy=createstopped", "systemTags=hostname::web")
    assert _parse(schema, "create-vm-instance", *NEEDED, *words) == {
        "name": "web",
        "imageUuid": IMAGE,
        "l3NetworkUuids": [NET],
        "cpuNum": 2,
        "memorySize": 128 << 20,
        "virtio": False,
        "strategy": "CreateStopped",
        "systemTags": ["hostname::web"],
    }


def test_lists_are_cut_at_commas_and_may_be_repeated(schema: Schema) -> None:
    one = _parse(schema, "create-vm-instance", "name=a", "imageUuid=tiny", f"l3NetworkUuids=flat,{VM}")
    two = _parse(
        schema, "create-vm-instance", "name=a", "imageUuid=tiny", "l3NetworkUuids=flat", f"l3NetworkUuids={VM}"
    )
    assert one == two == {"name": "a", "imageUuid": IMAGE, "l3NetworkUuids": [NET, VM]}


def test_tag_with_a_comma_stays_whole(schema: Schema) -> None:
    given = _parse(schema, "create-vm-instance", *NEEDED, "systemTags=userdata::a,b")
    assert given["systemTags"] == ["userdata::a,b"]


def test_value_is_read_from_a_file_and_a_doubled_at_is_an_at(schema: Schema) -> None:
    assert _parse(schema, "add-kvm-host", "name=@@home", "password=@key") == {
        "name": "@home",
        "password": "content of key",
    }


def test_word_without_a_name_is_the_resource_in_the_path(schema: Schema) -> None:
    assert _parse(schema, "stop-vm-instance", "web", "type=cold") == {"uuid": VM, "type": "cold"}


def test_removal_takes_a_name_though_it_declares_no_entity(schema: Schema) -> None:
    assert _parse(schema, "destroy-vm-instance", "uuid=web") == {"uuid": VM}


def test_maps_and_objects_are_written_with_dots_or_as_json(schema: Schema) -> None:
    command = "attach-network-service-to-l3-network"
    dotted = _parse(schema, command, "flat", f"networkServices.{VM}=DHCP,DNS")
    assert dotted == _parse(schema, command, "flat", f'networkServices={{"{VM}": ["DHCP", "DNS"]}}')
    assert dotted["networkServices"] == {VM: ["DHCP", "DNS"]}
    disks = _parse(schema, "create-vm-instance", *NEEDED, 'disks={"size": 1}', 'disks=[{"size": 2}]')["disks"]
    assert disks == [{"size": 1}, {"size": 2}]


def test_everything_that_does_not_fit_is_told_at_once(schema: Schema) -> None:
    wrong = _wrong(
        schema, "create-vm-instance", "nmae=web", "imageUuid=huge", "cpuNum=two", "strategy=Later", "memorySize=much"
    )
    assert "Did you mean name" in wrong["nmae"]
    assert "There is no Image named 'huge'" in wrong["imageUuid"]
    assert "found 'two'; a whole number from 1 to 1024 would fit" in wrong["cpuNum"]
    assert "InstantStart, CreateStopped" in wrong["strategy"]
    assert "128M" in wrong["memorySize"]
    assert "missing" in wrong["name"]
    assert "missing" in wrong["l3NetworkUuids"]


def test_scalar_given_twice_is_refused(schema: Schema) -> None:
    assert "twice" in _wrong(schema, "create-vm-instance", *NEEDED, "name=b")["name"]


def test_suffix_is_only_for_sizes(schema: Schema) -> None:
    assert "whole number" in _wrong(schema, "create-vm-instance", *NEEDED, "cpuNum=1K")["cpuNum"]


@given(st.integers(0, 1 << 20), st.sampled_from(["", "K", "M", "G", "T", "k", "MiB", "GB"]))
def test_sizes_are_powers_of_1024(number: int, suffix: str) -> None:
    power = " KMGT".index(suffix[0].upper()) if suffix else 0
    assert size_of(f"{number}{suffix}") == number * 1024**power


@given(st.text(max_size=30))
def test_no_text_breaks_the_reader(text: str) -> None:
    import msgspec

    schema = decode(msgspec.json.encode(SCHEMA))
    try:
        _parse(schema, "create-vm-instance", *NEEDED[1:], text)
    except CliError as error:
        assert error.exit_code == Exit.USAGE
