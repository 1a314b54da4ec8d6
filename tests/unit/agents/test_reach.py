from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.agents.errors import AgentError
from cairn.agents.protocol import codes
from cairn.agents.protocol.urls import DENIED_NETWORKS
from cairn.agents.reach import Reach


@pytest.fixture(autouse=True)
def _no_address_is_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cairn.agents.reach._is_own", lambda address: str(address) == "192.0.2.7")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1%eth0",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "192.0.2.7",
    ],
)
def test_machine_itself_and_metadata_servers_are_refused(address: str) -> None:
    assert Reach(DENIED_NETWORKS).why_not(address)


@pytest.mark.parametrize("address", ["10.0.0.8", "192.168.3.4", "8.8.8.8", "2a00:1450::1", "64:ff9b::808:808"])
def test_image_servers_are_reached(address: str) -> None:
    assert Reach(DENIED_NETWORKS).why_not(address) is None


@pytest.mark.parametrize("address", ["127.0.0.1", "192.0.2.7"])
def test_what_is_allowed_comes_before_what_is_denied(address: str) -> None:
    assert Reach(DENIED_NETWORKS, [f"{address}/32"]).why_not(address) is None


@given(st.ip_addresses(v=4, network="127.0.0.0/8"))
def test_loopback_is_refused_in_every_spelling(address: object) -> None:
    reach = Reach(DENIED_NETWORKS)
    assert reach.why_not(str(address))
    assert reach.why_not(f"::ffff:{address}")


def test_network_that_is_none_is_told() -> None:
    with pytest.raises(AgentError) as caught:
        Reach(["10.0.0.1/8"])
    assert caught.value.code == codes.BAD_REQUEST
