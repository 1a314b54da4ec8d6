from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.agents.protocol.machine import difference, identity_here, machine_identity


def machine(root: Path, machine_id: str | None, product_uuid: str | None) -> Path:
    """A file system with what the kernel and systemd tell of a machine."""
    for path, text in (("etc/machine-id", machine_id), ("sys/class/dmi/id/product_uuid", product_uuid)):
        if text is not None:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(f"{text}\n")
    return root


def test_a_machine_has_an_identity_of_its_system_and_its_hardware_that_shows_neither(tmp_path: Path) -> None:
    found = identity_here(machine(tmp_path, "a" * 32, "4C4C4544-0042"))

    assert found == machine_identity("a" * 32, "4c4c4544-0042\n")
    assert found is not None
    assert "aaaa" not in found
    assert len(found) == 65


def test_a_machine_that_tells_half_of_it_has_an_identity_and_one_that_tells_nothing_none(tmp_path: Path) -> None:
    assert identity_here(machine(tmp_path / "half", "a" * 32, None)) == machine_identity("a" * 32, "")
    assert identity_here(machine(tmp_path / "none", "", None)) is None


@given(st.lists(st.tuples(st.text("ab", min_size=1), st.text("ab", min_size=1)), unique=True, min_size=2))
def test_machines_that_differ_in_one_of_both_differ(machines: list[tuple[str, str]]) -> None:
    found = [machine_identity(*one) for one in machines]
    assert all(one != other for one, other in pairwise(found))


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (("new", "board"), "installed again"),
        (("system", "new"), "on other hardware"),
        (("new", "new"), "is another one"),
        (("new", ""), "is another one"),
    ],
)
def test_what_became_of_a_machine_is_told_in_words(found: tuple[str, str], says: str) -> None:
    known, now = machine_identity("system", "board"), machine_identity(*found)
    assert known is not None
    assert now is not None
    assert says in difference(known, now)


def test_two_systems_on_hardware_that_tells_nothing_are_two_machines() -> None:
    known, now = machine_identity("a", ""), machine_identity("b", "")
    assert known is not None
    assert now is not None
    assert difference(known, now) == "is another one"
