from __future__ import annotations

from cairn_audit.manifest import MANIFEST
from cairn_audit.tags import TICKET

from cairn.kernel.blame import plugin_of, plugin_of_module


def raised(call: object) -> BaseException:
    try:
        call()  # type: ignore[operator]
    except Exception as error:  # noqa: BLE001 (whatever it raises is looked at)
        return error
    raise AssertionError("it raises")


def test_exception_is_the_plugins_whose_code_was_at_work() -> None:
    assert MANIFEST.name == "audit"
    assert plugin_of(raised(lambda: TICKET._check({}) if TICKET._check else None)) == "audit"


def test_exception_of_ours_is_nobodys() -> None:
    assert plugin_of(raised(lambda: 1 / 0)) is None
    assert plugin_of(ValueError("never raised")) is None


def test_modules_belong_to_the_package_that_has_a_manifest() -> None:
    assert plugin_of_module("cairn_audit.steps.start") == "audit"
    assert plugin_of_module("cairn.services.vm.service") is None
    assert plugin_of_module("cairn.kernel.jobs") is None
    assert plugin_of_module("json") is None
