from __future__ import annotations

import pytest

from cairn.kernel.config import Setting
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.event.seats import Seats


def seats(per_account: int, most: int) -> Seats:
    values = {"streams.maxPerAccount": per_account, "streams.max": most}

    def setting(one: Setting[int]) -> int:
        return values[one.name]

    return Seats(setting)


def test_account_has_so_many_places_and_others_have_theirs() -> None:
    places = seats(2, 100)
    leave = places.take("alice", is_admin=False)
    places.take("alice", is_admin=False)
    with pytest.raises(CairnError) as caught:
        places.take("alice", is_admin=False)
    places.take("bob", is_admin=False)

    assert (caught.value.code, caught.value.kind) == ("event.too-many-streams", ErrorKind.EXHAUSTED)
    assert "event.streams.maxPerAccount" in caught.value.message
    leave()
    leave()
    places.take("alice", is_admin=False)
    with pytest.raises(CairnError):
        places.take("alice", is_admin=False)
    assert len(places) == 3


def test_full_house_refuses_accounts_and_lets_administrators_in() -> None:
    places = seats(2, 2)
    for account in ("alice", "bob"):
        places.take(account, is_admin=False)
    with pytest.raises(CairnError) as caught:
        places.take("carol", is_admin=False)
    places.take("admin", is_admin=True)
    places.take("admin", is_admin=True)

    assert "event.streams.max." in caught.value.message
    with pytest.raises(CairnError):
        places.take("admin", is_admin=True)
    assert len(places) == 4
