from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.agents.protocol.urls import DENIED_NETWORKS, shown_url, without_secrets

WORDS = st.text(alphabet="abcXYZ019-_.~%!", min_size=4, max_size=12)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://host/x.qcow2", "http://host/x.qcow2"),
        ("http://bob:s3cr3t@host:8080/x", "http://host:8080/x"),
        ("http://bob:a@b@host/x", "http://host/x"),
        ("https://h/x?sig=abc&token=d%3D&flag", "https://h/x?sig=…&token=…&…"),
        ("https://h/x#part", "https://h/x"),
        ("file:///srv/x.qcow2", "file:///srv/x.qcow2"),
        ("http://[::1", "the URL"),
    ],
)
def test_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert shown_url(url) == shown


@given(WORDS, WORDS, WORDS)
def test_no_password_and_no_value_is_ever_shown(password: str, value: str, bare: str) -> None:
    shown = shown_url(f"http://user:P{password}P@host/path?name=V{value}V&B{bare}B")
    assert not {f"P{password}P", f"V{value}V", f"B{bare}B"} & set(shown.replace("&", "=").split("="))
    assert "user" not in shown
    assert shown == "http://host/path?name=…&…"


@given(WORDS, WORDS)
def test_secrets_are_taken_out_of_a_foreign_text(password: str, value: str) -> None:
    url = f"http://bob:P{password}P@host/x?token=V{value}V"
    for text in (f"{url}: the server answered 404", f"connecting with P{password}P and V{value}V failed"):
        shown = without_secrets(text, url)
        assert f"P{password}P" not in shown
        assert f"V{value}V" not in shown
    assert without_secrets("nothing of it", url) == "nothing of it"


def test_private_networks_are_where_image_servers_are() -> None:
    denied = [ipaddress.ip_network(network) for network in DENIED_NETWORKS]
    for address in ("10.1.2.3", "172.16.0.1", "192.168.1.1", "198.18.0.1", "8.8.8.8"):
        assert not any(ipaddress.ip_address(address) in network for network in denied)
