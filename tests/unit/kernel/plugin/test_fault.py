from __future__ import annotations

import pytest

from cairn.kernel.error import CairnError
from cairn.kernel.plugin.fault import PluginFault, blame, leave_out, reason_of, sound
from cairn.kernel.plugin.manifest import Loaded, Manifest


def manifest(name: str, *requires: str) -> Manifest:
    return Manifest(package="tests.ports", doc="x", name=name, requires=requires)


LOADED = Loaded(
    manifests=(manifest("core"), manifest("a"), manifest("b"), manifest("c", "b"), manifest("d", "c")),
    plugins=frozenset("abcd"),
)


def names(loaded: Loaded) -> list[str]:
    return [one.name for one in loaded.manifests]


def fails_with(*bad: str) -> object:
    def attempt(loaded: Loaded) -> None:
        found = [name for name in names(loaded) if name in bad]
        if found:
            raise ValueError(found[0])

    return attempt


@pytest.mark.parametrize(
    ("bad", "left"),
    [
        ((), ["core", "a", "b", "c", "d"]),
        (("a",), ["core", "b", "c", "d"]),
        (("b", "a"), ["core"]),
        (("d",), ["core", "a", "b", "c"]),
    ],
)
def test_plugins_that_fail_are_left_out_with_those_that_need_them(bad: tuple[str, ...], left: list[str]) -> None:
    kept = sound(LOADED, fails_with(*bad))  # type: ignore[arg-type]
    assert names(kept) == left
    assert {one.name for one in kept.left_out} == {"core", "a", "b", "c", "d"} - set(left)


def test_what_fails_with_the_core_alone_is_the_nodes_own_fault() -> None:
    with pytest.raises(ValueError, match="core"):
        sound(LOADED, fails_with("core"))  # type: ignore[arg-type]


def test_failure_that_no_plugin_brings_is_raised_as_it_is() -> None:
    error = CairnError("workflow.wrong-list", "site.toml")
    with pytest.raises(CairnError) as caught:
        blame(LOADED, lambda loaded: None, error)
    assert caught.value is error


def test_fault_names_the_plugin_and_the_reason() -> None:
    fault = PluginFault("b", reason_of(ValueError("no")))
    kept = leave_out(LOADED, fault)
    assert [(one.name, one.reason) for one in kept.left_out] == [
        ("b", "ValueError: no"),
        ("c", "it needs b, which is left out"),
        ("d", "it needs c, which is left out"),
    ]
