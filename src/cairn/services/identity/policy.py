"""Which passwords are taken for an account: none that is short, and none that everybody tries first."""

from __future__ import annotations

from functools import cache
from typing import Final

from cairn.kernel.error import CairnError, invalid
from cairn.services.identity.passwords import PasswordForm, sha512_hex

SHORTEST: Final = 8
#: Of the lists of leaked passwords those that come first. Shorter ones matter for passwords that come as their SHA-512.
_COMMON: Final = """
0 1 12 123 1234 12345 123456 1234567 12345678 123456789 1234567890 0123456789 9876543210 987654321 87654321 0987654321
00000000 000000 11111111 111111 111111111 1111111111 22222222 55555555 66666666 77777777 88888888 99999999 99999999999
12121212 112233 11223344 1122334455 123123 123123123 12341234 123321 12344321 123454321 147258369 159753 14789632 1q2w3e
1q2w3e4r 1q2w3e4r5t 1qaz2wsx 1qaz2wsx3edc q1w2e3r4 q1w2e3r4t5 qazwsx qazwsxedc zaq12wsx zaq1zaq1 zxcvbn zxcvbnm zxcvbnm1
qwer1234 qwert qwerty qwerty1 qwerty12 qwerty123 qwerty1234 qwertyui qwertyuiop qwertzuiop azertyuiop asdfgh asdfghjk
asdfghjkl asdf1234 asdfasdf abc123 abcd1234 abcdefgh abcdefg1 abcabc123 a1b2c3d4 aa123456 aa12345678 a12345678 a123456789
aaaaaaaa abc12345 123456abc 123456789a 1234567a 12345678a 123abc123 123qwe 123qweasd 123qwe123 password passwort passw0rd
p@ssw0rd p@ssword pa55word pa55w0rd password! password1 password1! password12 password123 password1234 password01
passwords mypassword newpassword yourpassword nopassword changeme changeme1 changeme123 changeit letmein letmein1
letmein123 welcome welcome1 welcome12 welcome123 welcome01 default default1 secret secret1 secret123 topsecret temp1234
temppass test test123 test1234 testtest tester123 testing123 demo demo1234 guest guest123 user user1234 username root
root1234 rootroot toor administrator admin admin1 admin12 admin123 admin1234 admin12345 adminadmin admin@123 admin!23
sysadmin superuser superadmin manager1 operator letmein! iloveyou iloveyou1 iloveyou2 princess princess1 sunshine
sunshine1 football football1 baseball baseball1 basketball superman superman1 batman123 spiderman starwars pokemon1
dragon123 monkey123 master123 shadow123 michael1 michelle jennifer jordan23 charlie1 whatever whatever1 trustno1 computer
computer1 internet internet1 samsung1 liverpool liverpool1 chelsea1 arsenal1 barcelona realmadrid babygirl babygirl1
butterfly chocolate elephant corvette mercedes maverick midnight mustang1 hello123 helloworld blink182 cocacola
computer123 creative danielle einstein fuckyou fuckyou1 garfield gateway1 hardcore hockey123 killer123 lovelove iloveu123
myspace1 nicholas november october december september summer2024 summer2025 winter2024 winter2025 summer123 winter123
spring2025 autumn2025 p4ssw0rd pass1234 passpass pass12345 qwaszx12 rockyou1 scorpion security server123 steelers success1
target123 tinkerbell victoria william1 zz123456 cloud123 cloudcloud openstack openstack1 vmware123 vmware1! zstack
zstack123 nutanix/4u proxmox1 cairn cairn123 cairncairn correcthorsebatterystaple
"""


def check_new(password: str, form: PasswordForm, field: str = "password", name: str | None = None) -> None:
    """Refuse a password that is guessed at once, before anything is done with it.

    One that comes as its SHA-512 cannot be measured: it is compared with those of the common ones.

    Args:
        password: as the call has it.
        form: its form.
        field: of the call, for the sentence.
        name: the account's, where the call has it.

    Raises:
        CairnError: ``auth.bad-password-form``, ``account.weak-password``.
    """
    digest = sha512_hex(password, form, field)
    if form is PasswordForm.PLAIN and len(password) < SHORTEST:
        raise _weak(field, f"{len(password)} characters", f"at least {SHORTEST} would fit; the longer, the better")
    if digest in _digests():
        raise _weak(field, "one of the commonest passwords", "a sentence that nobody else would write would fit")
    if name is not None and digest in {sha512_hex(own) for own in (name, name.lower(), f"{name}{name}", name[::-1])}:
        raise _weak(field, "the account's name", "something that does not follow from it would fit")


@cache
def _digests() -> frozenset[str]:
    """Of the common ones, as they are and as people change them where a digit or a capital is demanded."""
    spelled = {
        form
        for word in ("", *_COMMON.split())
        for form in (word, word.capitalize(), word.upper(), f"{word}!", f"{word}1")
    }
    return frozenset(map(sha512_hex, spelled))


def _weak(field: str, found: str, fits: str) -> CairnError:
    return invalid("account.weak-password", field, found, fits)
