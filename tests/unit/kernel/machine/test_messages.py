from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.kernel.error import CairnError
from cairn.kernel.machine.messages import check_address


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "db1",
        "cafe2",
        "c0ffee.example",
        "1und1.example",
        "host-1",
        "fd00::1",
        "fe80::1%eth0",
        "3com.example.",
        "a",
    ],
)
def test_an_address_or_a_name_is_taken(address: str) -> None:
    check_address("managementIp", address)


@pytest.mark.parametrize(
    "address", ["198.18.13", "010.0.0.1", "0x0a000001", "0xa.1", "10.0.0.256", "1.2.3.4.5", "10.0.0.1.", "7"]
)
def test_an_address_that_can_be_read_in_two_ways_is_refused_with_what_would_fit(address: str) -> None:
    with pytest.raises(CairnError, match="four numbers") as caught:
        check_address("managementIp", address)
    assert (caught.value.code, list(caught.value.fields)) == ("machine.bad-address", ["managementIp"])


@given(st.ip_addresses(v=4))
def test_every_ipv4_address_as_it_is_usually_written_is_taken(address: object) -> None:
    check_address("hostname", str(address))
