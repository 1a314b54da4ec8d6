from __future__ import annotations

import json

import pytest
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fakes import FakeNode, Json

from cairn.cli.errors import Exit

ONE, TWO = "1a" * 16, "1b" * 16


@pytest.fixture(autouse=True)
def nodes(node: FakeNode) -> None:
    row = {"port": 8080, "state": "Running", "version": "0.1.0", "joinDate": "2026-01-01T00:00:00Z"}
    node.rows["/v1/management-nodes"] = [
        {**row, "uuid": ONE, "hostName": "10.0.0.1", "heartBeat": "2026-01-01T00:00:58Z"},
        {**row, "uuid": TWO, "hostName": "fd00::1", "heartBeat": "2026-01-01T00:01:00Z", "state": "Draining"},
    ]
    now: Json = {"currentTime": {"MillionSeconds": 1767225660500, "Seconds": 1767225660}}
    node.answers["PUT", "/v1/management-nodes/actions"] = (200, now)


def test_nodes_are_listed_with_how_long_ago_each_was_heard_of(cli: Cli) -> None:
    out = cli("node", "list").out
    for told in (ONE, "10.0.0.1:8080", "0.1.0", "2.5 s ago", TWO, "[fd00::1]:8080", "Draining", "0.5 s ago"):
        assert told in out
    rows = json.loads(cli("node", "list", "--json").out)
    assert [row["heartBeatAge"] for row in rows] == [2.5, 0.5]


def test_what_should_be_alike_and_is_not_is_told(cli: Cli, node: FakeNode) -> None:
    one, two = node.rows["/v1/management-nodes"]
    one |= {"plugins": {"kvm": "", "audit": "1.0"}, "wheels": "a" * 64}
    two |= {"plugins": {"kvm": "", "audit": "1.0"}, "wheels": "a" * 64}
    assert "differ" not in cli("node", "list").err

    two |= {"plugins": {"audit": "1.1"}, "wheels": "b" * 64}

    assert cli("node", "list").err.splitlines() == [
        f"The plugin audit differs: {ONE[:8]} has 1.0, {TWO[:8]} has 1.1.",
        f"The plugin kvm differs: {ONE[:8]} has cairn's own, {TWO[:8]} has none.",
        f"The wheels of agents differ: {ONE[:8]} has {'a' * 12}, {TWO[:8]} has {'b' * 12}.",
    ]


@pytest.mark.parametrize(
    ("verb", "asked", "told"),
    [
        ("drain", ("PUT", f"/v1/management-nodes/{ONE}/actions"), "gets nothing new"),
        ("resume", ("PUT", f"/v1/management-nodes/{ONE}/actions"), "takes part again"),
        ("remove", ("DELETE", f"/v1/management-nodes/{ONE}"), "is forgotten"),
    ],
)
def test_the_beginning_of_an_id_names_the_node(
    cli: Cli, node: FakeNode, verb: str, asked: tuple[str, str], told: str
) -> None:
    ran = cli("node", verb, "1a1a")
    assert (ran.code, [(one.verb, one.path) for one in node.calls()]) == (Exit.OK, [asked])
    assert told in ran.out
    assert "inventory" in json.loads(cli("node", verb, ONE, "--json").out)


@pytest.mark.parametrize("given", ["1", "ff"])
def test_what_names_no_node_or_two_is_refused_with_those_that_there_are(cli: Cli, node: FakeNode, given: str) -> None:
    ran = cli("node", "drain", given)
    assert (ran.code, node.calls()) == (Exit.USAGE, [])
    assert ONE in ran.err
    assert TWO in ran.err


def test_a_call_that_fails_says_why(cli: Cli, node: FakeNode) -> None:
    node.jobs = [{"state": "Failed", "error": {"detail": "It is the only one.", "code": "node.only-one"}}]
    ran = cli("node", "drain", ONE)
    assert ran.code == Exit.REFUSED
    assert "It is the only one." in ran.err
