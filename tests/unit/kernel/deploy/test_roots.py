from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from cairn.kernel.deploy.model import SharedAuthority
from cairn.kernel.deploy.pem import common_name
from cairn.kernel.deploy.roots import (
    Phase,
    announced,
    broken,
    first_root,
    make_root,
    phase_of,
    roots_in,
    switched,
    withdrawn,
)
from cairn.kernel.error import CairnError

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def changed(row: SharedAuthority, fields: Mapping[str, object]) -> SharedAuthority:
    return replace(row, **fields)


def test_a_change_goes_from_one_root_to_another_over_both() -> None:
    row, following = first_root(NOW), make_root(NOW)
    (first,) = roots_in(row).names
    second = common_name(following.certificate.subject)
    parts: list[Callable[[SharedAuthority], Mapping[str, object]]] = [
        lambda row: announced(row, following),
        switched,
        withdrawn,
    ]
    found = []
    for part in parts:
        row = changed(row, part(row))
        roots = roots_in(row)
        found.append((roots.phase, roots.names, roots.bundle.count(b"BEGIN CERTIFICATE")))
    assert found == [
        (Phase.ANNOUNCED, (first, second), 2),
        (Phase.RENEWING, (second, first), 2),
        (Phase.SETTLED, (second,), 1),
    ]
    assert (row.next_certificate, row.next_private_key, row.former_certificate) == (None, None, None)


def test_each_part_may_be_asked_for_twice_and_out_of_order() -> None:
    settled = first_root(NOW)
    under_way = changed(settled, announced(settled, make_root(NOW)))
    renewing = changed(under_way, switched(under_way))
    assert [phase_of(row) for row in (settled, under_way, renewing)] == list(Phase)
    assert announced(under_way, make_root(NOW)) == announced(renewing, make_root(NOW)) == {}
    assert switched(settled) == switched(renewing) == {}
    assert withdrawn(settled) == withdrawn(under_way) == {}


@pytest.mark.parametrize("field", ["certificate", "private_key"])
def test_a_root_that_is_damaged_is_an_error_and_no_reason_for_a_new_one(field: str) -> None:
    with pytest.raises(CairnError, match="Restore") as caught:
        roots_in(changed(first_root(NOW), {field: "nonsense"}))
    assert caught.value.code == broken("it", "there").code == "pki.broken"


def test_a_certificate_and_the_key_of_another_are_no_root() -> None:
    with pytest.raises(CairnError, match="pki"):
        roots_in(replace(first_root(NOW), private_key=first_root(NOW).private_key))
