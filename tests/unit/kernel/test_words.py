from __future__ import annotations

import pytest

from cairn.kernel.words import dashed, titled


def test_class_becomes_a_command() -> None:
    assert dashed("CreateVmInstance") == "create-vm-instance"
    assert dashed("AddKVMHost") == "add-kvm-host"


@pytest.mark.parametrize(
    ("code", "title"),
    [
        ("vm.size-missing", "VM size missing"),
        ("vm.wrong-state", "Wrong VM state"),
        ("host.none-fits", "No host fits"),
        ("l3.no-free-address", "No L3 free address"),
        ("ip-range.not-found", "IP range not found"),
        ("resource.uuid-taken", "Resource UUID taken"),
        ("internal", "Internal"),
    ],
)
def test_code_becomes_a_title(code: str, title: str) -> None:
    assert titled(code) == title
