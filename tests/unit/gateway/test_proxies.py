from __future__ import annotations

import pytest

from cairn.gateway.proxies import Proxies
from cairn.kernel.error import CairnError

PROXIES = Proxies("127.0.0.1, 10.1.0.0/16, fd00::/8")


@pytest.mark.parametrize(
    ("peer", "said", "client"),
    [
        ("203.0.113.7", None, "203.0.113.7"),
        ("203.0.113.7", "198.51.100.1", "203.0.113.7"),
        ("127.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("::ffff:127.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("fd00::1", "2001:db8::1", "2001:db8::1"),
        ("127.0.0.1", "127.0.0.1, 198.51.100.1, 10.1.2.3", "198.51.100.1"),
        ("127.0.0.1", "made up, 198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", None, "127.0.0.1"),
        ("a name", "198.51.100.1", "a name"),
    ],
)
def test_only_the_word_of_proxies_is_taken(peer: str, said: str | None, client: str) -> None:
    assert PROXIES.client(peer, said) == client


def test_without_proxies_nobody_s_word_is_taken() -> None:
    assert Proxies().client("127.0.0.1", "198.51.100.1") == "127.0.0.1"


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(CairnError, match="CAIRN_TRUSTED_PROXIES"):
        Proxies("proxy.example")
