from __future__ import annotations

import ssl

import pytest

from cairn.agents.protocol.peer import Peer, PeerRole, WrongPeer, explain, peer_of, peer_uri


def certificate(*names: tuple[str, str], serial: str = "0A") -> dict[str, object]:
    """A verified certificate, as the standard library shows it."""
    return {"subject": ((("commonName", "cairn-management-node"),),), "subjectAltName": names, "serialNumber": serial}


def test_the_holder_of_a_certificate_is_who_its_uri_says() -> None:
    for role in PeerRole:
        names = (("DNS", "cairn-management-node"), ("URI", peer_uri(role, "u1")), ("IP Address", "10.0.0.1"))
        assert peer_of(certificate(*names)) == Peer(role, "u1", 10)


@pytest.mark.parametrize(
    "names",
    [
        (),
        (("DNS", "cairn:node/n1"),),
        (("URI", "cairn:king/n1"),),
        (("URI", "cairn:node/"),),
        (("URI", "cairn:node"),),
        (("URI", "https://cairn:node/n1"),),
        (("URI", "cairn:node/n1"), ("URI", "cairn:agent/u1")),
    ],
)
def test_a_certificate_that_does_not_say_exactly_one_holder_is_nobodys(names: tuple[tuple[str, str], ...]) -> None:
    assert peer_of(certificate(*names)) is None


def test_without_a_certificate_there_is_nobody() -> None:
    assert peer_of(None) is None
    assert peer_of({}) is None


def refusal(code: int, text: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, text)
    error.verify_code = code
    return error


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (refusal(9, "certificate is not yet valid"), "Set both clocks"),
        (refusal(10, "certificate has expired"), "has expired"),
        (ssl.SSLError(1, "[SSL] tlsv1 alert certificate expired"), "has expired"),
        (ssl.SSLError(1, "[SSL] sslv3 alert bad certificate"), "refuses this side's certificate"),
        (WrongPeer(1, "the other side is the agent u1"), "the other side is the agent u1"),
        (refusal(20, "unable to get local issuer certificate"), "unable to get local issuer certificate"),
        (OSError(111, "Connection refused"), "Connection refused"),
    ],
)
def test_why_no_connection_came_about_is_told_in_words(error: Exception, says: str) -> None:
    assert says in explain(error)
