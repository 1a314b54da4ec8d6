from __future__ import annotations

import base64

import pytest

from cairn.services.vm import tags


@pytest.mark.parametrize("name", ["web", "web-1.example.org", "WEB", "a" * 63])
def test_host_name_that_rfc_1123_allows_is_taken(name: str) -> None:
    values = tags.HOSTNAME.parse(f"hostname::{name}")
    assert values == {"hostname": name}
    assert tags.HOSTNAME.complain(values) is None


@pytest.mark.parametrize("name", ["-web", "web-", "we_b", "a" * 64, "web..org", "w b", "x." * 130])
def test_other_host_name_is_complained_of(name: str) -> None:
    assert "RFC 1123" in str(tags.HOSTNAME.complain({"hostname": name}))


def test_user_data_is_base64_of_at_most_64_kib() -> None:
    fits = base64.b64encode(b"x" * 65536).decode()
    assert tags.USER_DATA.complain({"userdata": fits}) is None
    assert "65536" in str(tags.USER_DATA.complain({"userdata": base64.b64encode(b"x" * 65537).decode()}))
    assert "base64" in str(tags.USER_DATA.complain({"userdata": "#!"}))


def test_tags_are_read_and_one_that_is_not_there_changes_nothing() -> None:
    script = base64.b64encode(b"#!/bin/sh\n").decode()
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA me@home"
    given = [f"userdata::{script}", f"sshkey::{key}"]
    told = tags.from_tags(given, "web")
    assert told == tags.ToldToGuest(hostname="web", user_data=b"#!/bin/sh\n", ssh_keys=[key])
    assert tags.from_tags(["hostname::db"], "web").hostname == "db"


def test_host_name_is_made_of_the_vms_name() -> None:
    assert tags.hostname_of("My Web Server!") == "my-web-server"
    assert tags.hostname_of("!!!") == "vm"


def test_user_data_is_bytes_and_stays_what_it_was() -> None:
    compressed = bytes(range(256))
    given = [f"userdata::{base64.b64encode(compressed).decode()}"]
    assert tags.from_tags(given, "web").user_data == compressed


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Zm9vé", "character 5"),
        ("Zm9v\nYmFy", "character 5"),
        ("Zm9", "3 characters"),
        ("=", "1 characters"),
        ("\x00", "character 1"),
    ],
)
def test_user_data_that_is_no_base64_is_complained_of_with_what_was_found(text: str, found: str) -> None:
    complaint = str(tags.USER_DATA.complain({"userdata": text}))
    assert found in complaint
    assert "base64 -w0" in complaint


def test_user_data_is_shown_in_no_error() -> None:
    assert tags.USER_DATA.shown("userdata::c2VjcmV0") == "a tag userdata::{userdata}"


@pytest.mark.parametrize("key", ["ssh-rsa AAAA\nssh-rsa BBBB", "ssh-rsa", "rsa AAAA", "ssh-rsa AAAA a\x1bb"])
def test_key_that_is_no_line_of_authorized_keys_is_complained_of(key: str) -> None:
    assert "authorized_keys" in str(tags.SSH_KEY.complain({"sshkey": key}))
