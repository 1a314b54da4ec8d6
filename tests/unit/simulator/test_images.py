"""What simulated downloads bring."""

from __future__ import annotations

import pytest

from cairn.agents.protocol import codes
from cairn.agents.protocol.urls import DENIED_NETWORKS
from cairn.simulator.images import check_reach, fetch
from cairn.simulator.refusal import Refused


def test_same_url_brings_the_same_image() -> None:
    first = fetch("http://images/debian.qcow2", "qcow2", 1 << 40)
    assert first == fetch("http://images/debian.qcow2", "qcow2", 1 << 40)
    assert first.sha256 != fetch("http://images/other.qcow2", "qcow2", 1 << 40).sha256


def test_url_may_tell_the_sizes() -> None:
    image = fetch("http://images/a.raw?virtual=5000&size=77", "raw", 1000)
    assert (image.virtual_size_bytes, image.actual_size_bytes, image.format) == (5000, 77, "raw")


@pytest.mark.parametrize("url", ["http://127.0.0.1/x", "http://[::1]/x", "https://169.254.169.254/x"])
def test_denied_address_is_refused_unless_it_is_allowed(url: str) -> None:
    with pytest.raises(Refused) as caught:
        check_reach(url, DENIED_NETWORKS, [])
    assert caught.value.failure.code == codes.DOWNLOAD_REFUSED
    check_reach(url, DENIED_NETWORKS, ["127.0.0.0/8", "::1/128", "169.254.0.0/16"])


@pytest.mark.parametrize("url", ["http://images/x", "http://10.0.0.1/x", "ftp://127.0.0.1/x", "file:///srv/x"])
def test_other_places_are_reached(url: str) -> None:
    check_reach(url, DENIED_NETWORKS, [])


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("ftp://images/a.qcow2", codes.DOWNLOAD_FAILED),
        ("http://nowhere.invalid/a.qcow2", codes.DOWNLOAD_FAILED),
        ("http://127.0.0.1:9/a.qcow2", codes.DOWNLOAD_FAILED),
        ("http://images/missing.qcow2", codes.DOWNLOAD_FAILED),
        ("http://images/not-an-image.html", codes.NOT_AN_IMAGE),
        ("http://images/backing.qcow2", codes.BACKING_FILE),
        ("http://images/disk.raw", codes.WRONG_FORMAT),
        ("http://images/a.qcow2?size=1001", codes.IMAGE_TOO_LARGE),
        ("file:///etc/passwd", codes.PATH_REFUSED),
    ],
)
def test_bad_url_is_refused_with_its_code(url: str, code: str) -> None:
    with pytest.raises(Refused) as caught:
        fetch(url, "qcow2", 1000)
    assert caught.value.failure.code == code
