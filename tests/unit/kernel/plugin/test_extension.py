from __future__ import annotations

from typing import Protocol

import pytest

from cairn.kernel.error import CairnError
from cairn.kernel.plugin.extension import Extensions


class Guard(Protocol):
    def may(self) -> bool: ...


class Other(Protocol):
    def other(self) -> None: ...


class Yes:
    def may(self) -> bool:
        return True


def test_implementations_come_in_their_order_and_by_name() -> None:
    extensions = Extensions()
    first, second = Yes(), Yes()
    extensions.provide(Guard, first, name="b")
    extensions.provide(Guard, second, name="a")

    assert extensions.of(Guard) == [first, second]
    assert extensions.names(Guard) == ["b", "a"]
    assert extensions.named(Guard, "a") is second
    assert extensions.of(Other) == []
    assert extensions.names(Other) == []


def test_name_given_twice_is_refused() -> None:
    extensions = Extensions()
    extensions.provide(Guard, Yes(), name="a")

    with pytest.raises(CairnError, match=r"Guard is provided twice under the name 'a'.*plugin\.extension-twice"):
        extensions.provide(Guard, Yes(), name="a")


def test_missing_implementation_is_answered_with_those_there_are() -> None:
    extensions = Extensions()
    with pytest.raises(CairnError, match=r"there are: none"):
        extensions.named(Guard, "KVM")
    extensions.provide(Guard, Yes(), name="Simulator")

    with pytest.raises(CairnError, match=r"'KVM' \(Guard\); there are: Simulator.*plugin\.no-extension"):
        extensions.named(Guard, "KVM")
