from __future__ import annotations

import pytest

<<<<<<< HEAD
from cairn.kernel.words import dashed, titled


def test_class_becomes_a_command() -> None:
    assert dashed("CreateVmInstance") == "create-vm-instance"
    assert dashed("AddKVMHost") == "add-kvm-host"


@pytest.mark.parametrize(
    ("code", "title"),
    [
        ("vm.size-missing", "VM size missing"),
        ("vm.wrong-state", "Wrong VM state"),
        ("host.none-fits", "Host: none fits"),
        ("l3.no-free-address", "L3: no free address"),
        ("ip-range.not-found", "IP range not found"),
        ("internal", "Internal"),
    ],
)
def test_code_becomes_a_title(code: str, title: str) -> None:
    assert titled(code) == title
=======
from cairn.kernel.words import dashed


@pytest.mark.parametrize(
    ("name", "spelled"),
    [
        ("CreateVmInstance", "create-vm-instance"),
        ("Zone", "zone"),
        ("AddKVMHost", "add-kvm-host"),
        ("GetL3NetworkDhcpIpAddress", "get-l3-network-dhcp-ip-address"),
        ("already-dashed", "already-dashed"),
        ("", ""),
    ],
)
def test_words_of_a_name_are_joined_by_dashes(name: str, spelled: str) -> None:
    assert dashed(name) == spelled
>>>>>>> 46c12ca (Unit tests of the allocator, resources, contents, contexts, steps, and of the store's parts)
