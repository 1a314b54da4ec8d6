from __future__ import annotations

import pytest
from msgspec import Struct

from cairn.kernel.error import ErrorKind
from cairn.kernel.likeness import Likeness


class Other(Struct, frozen=True, kw_only=True):
    """A node that runs."""

    uuid: str = "b" * 32
    version: str = "1.0.0"
    plugins: dict[str, str] | None = None
    wheels: str | None = None


def here(**fields: object) -> Likeness:
    """This node: with a plugin of cairn's and one of somebody else's."""
    values: dict[str, object] = {"version": "1.0.0", "plugins": {"kvm": "", "audit": "2"}}
    return Likeness(**(values | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("theirs", "refused"),
    [
        ({"kvm": "", "audit": "2"}, set()),
        ({"kvm": "", "audit": "3"}, set()),
        ({"kvm": ""}, {"audit"}),
        ({"audit": "2", "kvm": "", "vip": "", "more": "1"}, {"vip", "more"}),
        ({}, {"kvm", "audit"}),
        (None, set()),  # one of a version that does not tell
    ],
)
def test_plugins_that_only_one_of_two_has_keep_them_apart(theirs: dict[str, str] | None, refused: set[str]) -> None:
    assert here().refuses(Other(plugins=theirs)) == refused


def test_what_comes_with_cairn_may_differ_beside_another_version_of_it() -> None:
    other = Other(version="1.1.0", plugins={"vip": "", "other": "1"})

    assert here().refuses(other) == {"audit", "other"}


def test_a_plugin_that_is_brought_in_or_taken_out_may_be_missing_meanwhile() -> None:
    assert here(rolling=frozenset({"audit"})).refuses(Other(plugins={"kvm": ""})) == set()
    assert here(plugins={}, rolling=frozenset({"audit"})).refuses(Other(plugins={"audit": "2"})) == set()
    assert here(rolling=frozenset({"vip"})).refuses(Other(plugins={"kvm": ""})) == {"audit"}


def test_everything_that_differs_is_noted() -> None:
    other = Other(plugins={"kvm": "", "audit": "3", "vip": "1"}, wheels="c" * 64)

    assert here(wheels="d" * 64).notes(other) == {
        "audit": "2 here, 3 there",
        "vip": "none here, 1 there",
        "wheels of agents": f"{'d' * 12} here, {'c' * 12} there",
    }
    assert here().notes(Other(plugins={"audit": "2"})) == {"kvm": "cairn's own here, none there"}
    assert here().notes(Other()) == {}


def test_who_is_refused_is_told_by_whom_and_what_to_do() -> None:
    error = here().refusal([Other(plugins={"kvm": ""}), Other(uuid="c" * 32, plugins={"kvm": "", "vip": "1"})])

    assert (error.code, error.kind) == ("node.plugins-differ", ErrorKind.CONFLICT)
    assert f"node {'b' * 32} has not audit; " in error.message
    assert f"node {'c' * 32} has not audit and has vip, which this node has not." in error.message
    assert "CAIRN_PLUGINS_ROLLING" in error.message
