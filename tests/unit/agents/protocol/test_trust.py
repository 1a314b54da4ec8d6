from __future__ import annotations

import msgspec

from cairn.agents.protocol.trust import RenewTrust, revocation_of


def test_two_lists_are_told_apart_whatever_their_order() -> None:
    assert revocation_of(["a", "b"]) == revocation_of(["b", "a"])
    assert len({revocation_of([]), revocation_of(["a"]), revocation_of(["a", "b"])}) == 3
    assert revocation_of([]) == ""


def test_the_private_key_is_in_no_text_of_the_command() -> None:
    command = RenewTrust(revoked=["a"], certificate="CERTIFICATE", key="SECRET")
    assert "SECRET" not in f"{command} {command!r}"
    assert b"SECRET" in msgspec.json.encode(command)
