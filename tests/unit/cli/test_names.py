from __future__ import annotations

import pytest
from tests.unit.cli.fakes import IMAGE, NET, FakeNode

from cairn.cli.client import Client
from cairn.cli.errors import CliError
from cairn.cli.names import Names


@pytest.fixture
def names(client: Client) -> Names:
    client.log_in("admin", "secret")
    return Names(client)


def refused(names: Names, entity: str, name: str) -> tuple[str, str]:
    with pytest.raises(CliError) as caught:
        names(entity, name)
    return caught.value.problem.code, caught.value.problem.detail


def rows(node: FakeNode, *found: dict[str, object]) -> None:
    node.rows["/v1/images"] = list(found)


def test_the_only_one_of_a_name_is_meant(names: Names) -> None:
    assert names("Image", "tiny") == IMAGE


def test_a_uuid_is_taken_as_it_is_without_a_look(names: Names, node: FakeNode) -> None:
    before = len(node.seen)
    assert names.uuid("L3Network", NET) == NET
    assert len(node.seen) == before
    assert names.uuid("Image", "tiny") == IMAGE


def test_of_two_of_a_name_both_are_told_with_their_states(names: Names, node: FakeNode) -> None:
    rows(node, {"uuid": "1", "name": "a", "state": "Enabled"}, {"uuid": "2", "name": "a", "status": "Ready"})
    code, detail = refused(names, "Image", "a")
    assert code == "cli.ambiguous"
    assert "1 (Enabled); 2 (Ready)" in detail


def test_what_was_destroyed_does_not_stand_in_the_way(names: Names, node: FakeNode) -> None:
    rows(node, {"uuid": "1", "name": "a", "state": "Destroyed"}, {"uuid": "2", "name": "a", "state": "Running"})
    assert names("Image", "a") == "2"
    rows(node, {"uuid": "1", "name": "a", "state": "Destroyed"})
    assert names("Image", "a") == "1"


def test_where_there_is_none_at_all_that_is_said(names: Names, node: FakeNode) -> None:
    rows(node)
    code, detail = refused(names, "Image", "tinny")
    assert code == "cli.no-such-name"
    assert "There is none yet" in detail
