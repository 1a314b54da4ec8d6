from __future__ import annotations

import pytest

from cairn.services.image.messages import AddImage, ImageFormat, check_url, checked_format


@pytest.mark.parametrize("url", ["http://a/x", "https://a:8443/x?y=1", "file:///srv/x.qcow2", "HTTP://a/"])
def test_urls_that_are_fetched(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize("text", ["qcow2", "QCOW2", "Qcow2"])
def test_a_format_is_taken_whatever_its_case(text: str) -> None:
    assert checked_format(text) is ImageFormat.QCOW2


def test_downloads_get_more_time_than_other_calls() -> None:
    assert AddImage.default_timeout_seconds == 10_800
