from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.kernel.error import CairnError
from cairn.lab.layout import DEFAULT_SUBNET, MAX_HOSTS, LabLayout, choose_subnet, host_number


@given(name=st.from_regex(r"\A[a-z][a-z0-9]{0,9}\Z"), number=st.integers(1, MAX_HOSTS))
def test_links_of_any_lab_fit_the_kernels_15_characters(name: str, number: int) -> None:
    layout = LabLayout(name, Path("/d/lab"), DEFAULT_SUBNET)
    assert len(layout.machine_link) <= 15
    assert len(layout.host(number).port) <= 15


@pytest.mark.parametrize("name", ["", "Cairn", "9lives", "with-dash", "elevenchars", "a b", "../up"])
def test_name_that_does_not_fit_is_refused(name: str) -> None:
    with pytest.raises(CairnError) as caught:
        LabLayout(name, Path("/d/lab"), DEFAULT_SUBNET)
    assert caught.value.code == "lab.wrong-name"


def test_addresses_of_machine_and_hosts() -> None:
    layout = LabLayout("cairn", Path("/d/lab"), DEFAULT_SUBNET)
    assert str(layout.machine_address) == "198.18.0.1"
    assert [str(layout.host(number).address) for number in (1, 2, 100)] == [
        "198.18.0.11",
        "198.18.0.12",
        "198.18.0.110",
    ]


def test_hosts_of_two_labs_have_different_macs() -> None:
    one = LabLayout("one", Path("/d/lab"), IPv4Network("198.19.0.0/24"))
    two = LabLayout("two", Path("/e/lab"), IPv4Network("198.19.1.0/24"))
    macs = {layout.host(number).mac for layout in (one, two) for number in range(1, MAX_HOSTS + 1)}
    assert len(macs) == 2 * MAX_HOSTS


def test_lab_does_not_own_what_a_lab_with_a_longer_name_owns() -> None:
    layout = LabLayout("lab", Path("/d/lab"), DEFAULT_SUBNET)
    longer = LabLayout("lab2", Path("/e/lab"), DEFAULT_SUBNET)
    assert layout.owns_namespace(layout.switch_namespace)
    assert layout.owns_namespace(layout.host(7).namespace)
    assert layout.owns_mark(layout.host(7).mark)
    assert not layout.owns_namespace(longer.switch_namespace)
    assert not layout.owns_mark(longer.host(7).mark)
    assert not layout.owns_namespace("lab-router")


@pytest.mark.parametrize(("text", "number"), [("host1", 1), ("12", 12), ("host100", 100)])
def test_host_is_called_by_name_or_number(text: str, number: int) -> None:
    assert host_number(text) == number


@pytest.mark.parametrize("text", ["", "host", "host0", "0", "node1", "host1x", "-1"])
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(CairnError) as caught:
        host_number(text)
    assert caught.value.code == "lab.unknown-host"


@pytest.mark.parametrize("number", [0, MAX_HOSTS + 1])
def test_host_beyond_the_bounds_is_refused(number: int) -> None:
    with pytest.raises(CairnError) as caught:
        LabLayout("lab", Path("/d/lab"), DEFAULT_SUBNET).host(number)
    assert caught.value.code == "lab.too-many-hosts"


def test_default_lab_takes_the_lower_half_and_others_the_first_free_part_of_the_upper() -> None:
    taken = [IPv4Network("10.0.0.0/8"), IPv4Network("198.19.0.0/24")]
    assert choose_subnet("cairn", taken) == DEFAULT_SUBNET
    assert choose_subnet("other", taken) == IPv4Network("198.19.1.0/24")


@pytest.mark.parametrize(("name", "taken"), [("cairn", "198.18.4.0/24"), ("other", "198.18.0.0/15")])
def test_no_subnet_is_left(name: str, taken: str) -> None:
    with pytest.raises(CairnError) as caught:
        choose_subnet(name, [IPv4Network(taken)])
    assert caught.value.code == "lab.no-subnet"
