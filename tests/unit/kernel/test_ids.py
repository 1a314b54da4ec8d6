from __future__ import annotations

import uuid

import pytest

from cairn.kernel.ids import RandomIds, is_uuid


def test_ids_are_version_4_uuids() -> None:
    for ids in (RandomIds(), RandomIds(seed=1)):
        made = [ids.new() for _ in range(1000)]
        assert len(set(made)) == 1000
        assert all(is_uuid(one) and uuid.UUID(one).version == 4 for one in made)
        assert {uuid.UUID(one).variant for one in made} == {uuid.RFC_4122}


def test_ids_of_a_seed_repeat() -> None:
    assert RandomIds(seed=5).new() == RandomIds(seed=5).new() != RandomIds(seed=6).new()


@pytest.mark.parametrize("text", ["", "a" * 31, "a" * 33, "A" * 32, "a" * 32 + "\n", "-" * 32])
def test_what_is_no_id_is_seen(text: str) -> None:
    assert not is_uuid(text)
