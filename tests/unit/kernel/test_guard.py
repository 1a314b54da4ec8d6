from __future__ import annotations

from typing import Any, cast

import pytest

from cairn.kernel.api import ApiCommand, ApiDelete
from cairn.kernel.error import CairnError
from cairn.kernel.extensions import CallGuard
from cairn.kernel.guard import Guards
from cairn.kernel.store.store import Tx
from cairn.services.zone.messages import CreateZone, DeleteZone

TX = cast("Tx", None)


class NoDeletion(CallGuard):
    calls = (ApiDelete,)

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.asked: list[str | None] = []

    def veto(self, tx: Tx, call: ApiCommand[Any], account: str | None) -> None:
        self.asked.append(account)
        raise self.error


def test_guard_is_asked_for_its_calls_and_what_is_below_them_only() -> None:
    guard = NoDeletion(CairnError("test.no", "No."))
    guards = Guards(lambda: [guard])
    assert guards.question(CreateZone(name="z"), "me") is None

    question = guards.question(DeleteZone(uuid="1" * 32), "me")

    assert question is not None
    with pytest.raises(CairnError, match=r"test\.no"):
        question(TX)
    assert guard.asked == ["me"]


def test_guard_that_fails_refuses_the_call_as_a_bug() -> None:
    question = Guards(lambda: [NoDeletion(KeyError("x"))]).question(DeleteZone(uuid="1" * 32), None)
    assert question is not None
    with pytest.raises(CairnError, match="asking NoDeletion"):
        question(TX)


def test_without_guards_nothing_is_asked() -> None:
    assert Guards().question(DeleteZone(uuid="1" * 32), None) is None
