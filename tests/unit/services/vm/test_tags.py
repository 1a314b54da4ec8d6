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


def test_tags_are_read_and_the_host_name_is_made_of_the_name_without_one() -> None:
    script = base64.b64encode(b"#!/bin/sh\n").decode()
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA me@home"
    given = [f"userdata::{script}", f"sshkey::{key}"]
    assert tags.from_tags(given, "My Web Server!") == ("my-web-server", "#!/bin/sh\n", [key])
    assert tags.from_tags(["hostname::db"], "My Web Server!")[0] == "db"
    assert tags.from_tags([], "!!!")[0] == "vm"
