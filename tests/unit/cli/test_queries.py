from __future__ import annotations

import json

import msgspec
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fakes import SCHEMA, VM, FakeNode

from cairn.cli.errors import Exit
from cairn.cli.queries import ask
from cairn.cli.schema import decode

SCHEMA_ = decode(msgspec.json.encode(SCHEMA))
VMS = SCHEMA_.by_entity["VmInstance"]


def test_words_are_conditions_and_options() -> None:
    words = ("vmNics.l3Network.name=flat", "state=Running", "fields=name,uuid", "sort=-createDate", "limit=20")
    asked = ask(SCHEMA_, VMS, words)
    assert asked.conditions == ("vmNics.l3Network.name=flat", "state=Running")
    assert asked.fields == ("name", "uuid")
    assert asked.options == (("sort", "-createDate"), ("limit", "20"))


def test_sizes_are_bytes_to_the_node_and_other_numbers_stay() -> None:
    assert ask(SCHEMA_, VMS, ("memorySize>=1G", "cpuNum=1", "name=1G")).conditions == (
        f"memorySize>={1 << 30}",
        "cpuNum=1",
        "name=1G",
    )


def test_table_has_sensible_columns_and_readable_values(cli: Cli) -> None:
    told = cli("query", "VmInstance").out
    assert all(part in told for part in ("name", "state", "web", VM, "Running", "10.0.0.2", "128 MiB"))


def test_columns_that_the_node_shows_to_others_only_are_left_out(cli: Cli, node: FakeNode) -> None:
    assert "memorySize" in cli("query", "VmInstance").out
    for row in node.rows["/v1/vm-instances"]:
        del row["memorySize"]
    told = cli("query", "VmInstance").out
    assert ("memorySize" in told, "vmNics.ip" in told) == (False, True)


def test_entity_may_be_written_as_people_do(cli: Cli) -> None:
    for name in ("vm-instance", "vminstances", "VmInstance", "vm-instances"):
        assert VM in cli("query", name).out


def test_fields_are_the_columns(cli: Cli, node: FakeNode) -> None:
    told = cli("query", "VmInstance", "state=Running", "fields=uuid,name").out
    assert told.split()[:2] == ["uuid", "name"]
    assert node.seen[-1].query == {"q": ["state=Running"], "fields": ["uuid,name"]}


def test_empty_answer_says_so(cli: Cli) -> None:
    ran = cli("query", "VmInstance", "name=nobody")
    assert (ran.code, ran.out) == (Exit.OK, "")
    assert "No VmInstance matches" in ran.err


def test_count_quiet_and_json_are_for_programs(cli: Cli) -> None:
    assert cli("query", "VmInstance", "--count").out == "1\n"
    assert cli("query", "VmInstance", "-q").out == f"{VM}\n"
    assert json.loads(cli("query", "VmInstance", "--json").out)["inventories"][0]["uuid"] == VM


def test_unknown_entity_offers_what_is_near(cli: Cli) -> None:
    ran = cli("query", "VmInstanc")
    assert ran.code == Exit.USAGE
    assert "Did you mean VmInstance" in ran.err


def test_control_characters_of_names_do_not_reach_the_terminal(cli: Cli, node: FakeNode) -> None:
    node.rows["/v1/zones"] = [{"uuid": VM, "name": "\x1b[31mevil\x07"}]
    assert "\x1b" not in cli("query", "Zone").out


def test_wrong_condition_is_the_nodes_to_refuse(cli: Cli, node: FakeNode) -> None:
    node.answers["GET", "/v1/zones"] = (400, {"detail": "position 0: found 'nmae'", "code": "query.no-field"})
    ran = cli("query", "Zone", "nmae=x")
    assert ran.code == Exit.REFUSED
    assert "position 0" in ran.err


def _many(node: FakeNode) -> list[str]:
    node.most = 2
    uuids = [f"{number:032x}" for number in range(5)]
    node.rows["/v1/vm-instances"] = [{"uuid": uuid, "name": "x", "state": "Running"} for uuid in uuids]
    return uuids


def test_all_pages_are_asked_for(cli: Cli, node: FakeNode) -> None:
    uuids = _many(node)
    assert cli("query", "VmInstance", "sort=+name", "--all", "-q").out.split() == uuids
    assert [seen.query.get("after") for seen in node.seen[-3:]] == [None, ["2"], ["4"]]
    assert all(seen.query["sort"] == ["+name"] for seen in node.seen[-3:])


def test_it_says_that_there_are_more(cli: Cli, node: FakeNode) -> None:
    uuids = _many(node)
    ran = cli("query", "VmInstance", "-q")
    assert (ran.out.split(), "There are more" in ran.err) == (uuids[:2], True)
    assert "There are more" not in cli("query", "VmInstance", "-q", "limit=1").err


def test_all_is_no_page(cli: Cli) -> None:
    ran = cli("query", "VmInstance", "--all", "limit=3", "--json")
    assert (ran.code, json.loads(ran.err)["error"]["code"]) == (Exit.USAGE, "cli.all-and-page")
