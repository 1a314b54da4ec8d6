from __future__ import annotations

from cairn.kernel.query.plan import Scope
from cairn.kernel.session import Caller


def test_an_admin_sees_everything_and_others_what_is_theirs() -> None:
    assert Caller("root", True, "s").scope == Scope(owner=None)
    assert Caller("ann", False, "s").scope == Scope(owner="ann")
