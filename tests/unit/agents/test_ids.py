from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.agents.errors import AgentError
from cairn.agents.ids import check_domain, check_interface, check_ip, check_mac, check_uuid

CHECKS = (check_domain, check_interface, check_ip, check_mac, check_uuid)


@given(st.text())
def test_nothing_that_is_accepted_can_break_out_of_a_line_or_a_path(text: str) -> None:
    for check in CHECKS:
        try:
            value = check("field", text)
        except AgentError:
            continue
        assert not set(value) & set("\n\r\0/ ,;\"'{}\\=#")
        assert not value.startswith(("-", "."))


@pytest.mark.parametrize("name", ["br_eth0", "vnic12.0", "a", "x" * 15])
def test_interface_names_are_accepted(name: str) -> None:
    assert check_interface("bridge", name) == name


@pytest.mark.parametrize("name", ["", "x" * 16, "-x", "a b", "a/b", "..", "br\n"])
def test_other_names_are_refused_with_the_field(name: str) -> None:
    with pytest.raises(AgentError, match="bridge: found"):
        check_interface("bridge", name)


def test_mac_becomes_lower_case() -> None:
    assert check_mac("mac", "FA:01:02:03:04:0F") == "fa:01:02:03:04:0f"
