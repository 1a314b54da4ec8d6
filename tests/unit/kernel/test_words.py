from __future__ import annotations

import re

import pytest

from cairn.kernel.words import LINE_PATTERN, PARAGRAPHS_PATTERN, dashed, titled


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


@pytest.mark.parametrize("text", ["web", "Übung 😀 \u202e", "a" * 255, "a b", ""])
def test_text_of_one_line_fits_names(text: str) -> None:
    assert re.search(LINE_PATTERN, text)


@pytest.mark.parametrize(
    "character", ["\n", "\r", "\t", "\0", "\x01", "\x1b", "\x7f", "\x85", "\u2028", "\ufffe", "\uffff"]
)
@pytest.mark.parametrize("place", ["{}", "a{}b", "a{}"])
def test_control_character_fits_no_name_wherever_it_stands(character: str, place: str) -> None:
    text = place.format(character)
    assert not re.search(LINE_PATTERN, text)
    assert bool(re.search(PARAGRAPHS_PATTERN, text)) is (character in "\n\r\t")
