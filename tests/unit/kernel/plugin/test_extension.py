from __future__ import annotations

from typing import Protocol

import pytest

from cairn.agents.protocol.host import HostFacts
from cairn.kernel.error import CairnError
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.store.store import Tx
from cairn.services.host.extensions import HostConnected, HostRemoval


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


def test_an_object_stands_for_each_extension_point_that_its_class_extends() -> None:
    class Both(HostConnected, HostRemoval):
        async def host_connecting(self, host: str, facts: HostFacts) -> None: ...

        def why_not_remove(self, tx: Tx, host: str) -> str | None: ...

        def host_removed(self, tx: Tx, host: str) -> None: ...

    extensions, both = Extensions(), Both()
    extensions.add(both, name="x")
    assert extensions.named(HostConnected, "x") is both
    assert extensions.of(HostRemoval) == [both]
    with pytest.raises(CairnError, match=r"plugin\.extension-twice"):
        extensions.add(Both(), name="x")


def test_an_object_that_extends_nothing_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="Yes extends no protocol"):
        Extensions().add(Yes(), name="x")
