from __future__ import annotations

import pytest

from cairn.kernel.api import secret_fields
from cairn.kernel.error import CairnError, ErrorKind
from cairn.services.image.messages import AddImage, ImageFormat, MediaType, check_url, checked_format


@pytest.mark.parametrize("url", ["http://a/x", "https://a:8443/x?y=1", "file:///srv/x.qcow2", "HTTP://a/"])
def test_urls_that_are_fetched(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://a/my image.qcow2", "a blank at position 12, which is written as %20"),
        ("http://a/x\n", "the control character U+000A at position 11"),
        ("http://a/é", "the character 'é' at position 10, which is written as %C3%A9"),
        ("http://bob:s3cr3t@a:99999/x?t0ken", "a port that is none in 'http://a:99999/x?…'"),
        ("http://a:0/x", "the port 0"),
        ("ftp://bob:s3cr3t@a/x", "the scheme 'ftp'"),
        ("a/x", "no scheme"),
        ("http:///x", "no host"),
        ("file://", "no path"),
        ("http://[::1/x", "an address in brackets"),
    ],
)
def test_what_is_wrong_with_a_url_is_named_without_its_secrets(url: str, found: str) -> None:
    with pytest.raises(CairnError) as caught:
        check_url(url)
    assert caught.value.code == "image.wrong-url"
    assert f"found {found}" in caught.value.message
    assert not any(secret in str(caught.value.record()) for secret in ("s3cr3t", "t0ken", "bob"))


def image(url: str, **fields: object) -> AddImage:
    given = {"name": "x", "url": url, "backup_storage_uuids": ["1" * 32], **fields}
    return AddImage(**given)  # type: ignore[arg-type]


def test_files_of_a_backup_storage_are_for_administrators() -> None:
    image("http://a/x").check_for_account()
    with pytest.raises(CairnError) as caught:
        image("file:///srv/x").check_for_account()
    assert (caught.value.code, caught.value.kind) == ("image.file-url", ErrorKind.FORBIDDEN)


def test_url_is_a_secret() -> None:
    assert secret_fields(AddImage) == ("url",)


def test_iso_is_raw() -> None:
    image("http://a/x", media_type=MediaType.ISO, format="raw").check()
    with pytest.raises(CairnError, match="raw would fit"):
        image("http://a/x", media_type=MediaType.ISO).check()


@pytest.mark.parametrize("text", ["qcow2", "QCOW2", "Qcow2"])
def test_a_format_is_taken_whatever_its_case(text: str) -> None:
    assert checked_format(text) is ImageFormat.QCOW2


def test_downloads_get_more_time_than_other_calls() -> None:
    assert AddImage.default_timeout_seconds == 10_800
