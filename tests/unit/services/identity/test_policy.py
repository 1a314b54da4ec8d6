from __future__ import annotations

import pytest

from cairn.kernel.error import CairnError
from cairn.services.identity.passwords import PasswordForm, sha512_hex
from cairn.services.identity.policy import check_new


@pytest.mark.parametrize("password", ["", "a", "1234567", "12345678", "letmein123", "ADMINISTRATOR", "ÄÖÜäöü1"])
def test_short_and_common_passwords_are_refused(password: str) -> None:
    with pytest.raises(CairnError, match="would fit") as caught:
        check_new(password, PasswordForm.PLAIN)
    assert caught.value.code == "account.weak-password"
    assert not password or password not in str(caught.value).split()


@pytest.mark.parametrize("password", ["", "1", "admin", "password", "Password1"])
def test_common_ones_are_known_by_their_sha512_as_well(password: str) -> None:
    with pytest.raises(CairnError) as caught:
        check_new(sha512_hex(password), PasswordForm.SHA512)
    assert caught.value.code == "account.weak-password"


@pytest.mark.parametrize("password", ["Wolfgang", "wolfgang", "WolfgangWolfgang", "gnagfloW"])
def test_name_of_the_account_is_refused(password: str) -> None:
    with pytest.raises(CairnError):
        check_new(password, PasswordForm.PLAIN, name="Wolfgang")


@pytest.mark.parametrize("password", ["correct horse battery", "gT7$kk2q", "ünïcødé-1"])
def test_others_are_taken_in_both_forms(password: str) -> None:
    check_new(password, PasswordForm.PLAIN, name="ann")
    check_new(sha512_hex(password), PasswordForm.SHA512, name="ann")
