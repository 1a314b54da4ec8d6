from __future__ import annotations

import asyncio
import hashlib
import threading

import pytest
from argon2 import PasswordHasher

from cairn.kernel.error import CairnError, ErrorKind
from cairn.services.identity.passwords import PasswordForm, Passwords, Throttle, interactive_hasher, sha512_hex
from cairn.testing.clock import VirtualClock

QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def passwords(clock: VirtualClock) -> Passwords:
    return Passwords(QUICK, clock)


async def refused(passwords: Passwords, kept: str | None, password: str, name: str = "ann") -> str:
    with pytest.raises(CairnError) as caught:
        await passwords.compare(name, kept, sha512_hex(password))
    return caught.value.code


def test_both_forms_of_a_password_are_the_same() -> None:
    digest = hashlib.sha512(b"secret").hexdigest()

    assert sha512_hex("secret") == digest
    assert sha512_hex(digest, PasswordForm.SHA512) == digest
    assert sha512_hex(digest.upper(), PasswordForm.SHA512) == digest


def test_a_plain_password_announced_as_sha512_is_refused() -> None:
    with pytest.raises(CairnError) as caught:
        sha512_hex("secret", PasswordForm.SHA512)

    assert caught.value.code == "auth.bad-password-form"
    assert "secret" not in str(caught.value)


async def test_right_password_fits_and_hashes_are_salted(passwords: Passwords) -> None:
    first, second = await passwords.hash(sha512_hex("secret")), await passwords.hash(sha512_hex("secret"))

    assert first != second
    assert first.startswith("$argon2id$")
    await passwords.compare("ann", first, sha512_hex("secret"))


async def test_wrong_unknown_and_broken_are_refused_in_the_same_words(passwords: Passwords) -> None:
    kept = await passwords.hash(sha512_hex("secret"))

    for stored, password in ((kept, "wrong"), (None, "secret"), (None, ""), ("no hash", "secret")):
        assert await refused(passwords, stored, password, name=f"{stored}{password}") == "auth.wrong-password"


async def test_an_unknown_name_costs_a_hash_too(clock: VirtualClock) -> None:
    verified: list[str] = []

    class Counting:
        def hash(self, password: str) -> str:
            return QUICK.hash(password)

        def verify(self, hash: str, password: str) -> bool:
            verified.append(hash)
            return QUICK.verify(hash, password)

    passwords = Passwords(Counting(), clock)
    await refused(passwords, None, "x")

    assert len(verified) == 1


async def test_hashing_is_off_the_event_loop_and_two_at_a_time(clock: VirtualClock) -> None:
    running: list[int] = []
    peak: list[int] = []
    lock = threading.Lock()

    class Watched:
        def hash(self, password: str) -> str:
            assert threading.current_thread() is not threading.main_thread()
            with lock:
                running.append(1)
                peak.append(len(running))
            with lock:
                running.pop()
            return password

        def verify(self, hash: str, password: str) -> bool:
            return hash == password

    passwords = Passwords(Watched(), clock)
    await asyncio.gather(*(passwords.hash(str(number)) for number in range(20)))

    assert max(peak) <= 2


async def test_after_five_wrong_passwords_within_a_minute_the_name_waits(
    passwords: Passwords, clock: VirtualClock
) -> None:
    kept = await passwords.hash(sha512_hex("secret"))
    for _ in range(5):
        assert await refused(passwords, kept, "wrong") == "auth.wrong-password"
        await clock.advance(1.0)

    assert await refused(passwords, kept, "secret") == "auth.too-many-tries"
    await passwords.compare("bob", kept, sha512_hex("secret"))
    await clock.advance(56.0)
    await passwords.compare("ann", kept, sha512_hex("secret"))


async def test_many_wrong_passwords_at_once_get_no_further_than_one_after_another(passwords: Passwords) -> None:
    kept = await passwords.hash(sha512_hex("secret"))

    codes = await asyncio.gather(*(refused(passwords, kept, str(number)) for number in range(20)))

    assert codes.count("auth.wrong-password") == 5
    assert codes.count("auth.too-many-tries") == 15


async def test_many_right_passwords_at_once_are_all_taken(passwords: Passwords) -> None:
    kept = await passwords.hash(sha512_hex("secret"))

    await asyncio.gather(*(passwords.compare("ann", kept, sha512_hex("secret")) for _ in range(20)))


def test_the_throttle_says_how_long_to_wait(clock: VirtualClock) -> None:
    throttle = Throttle(clock)
    for _ in range(5):
        throttle.begin("ann")

    with pytest.raises(CairnError) as caught:
        throttle.begin("ann")

    assert caught.value.kind is ErrorKind.EXHAUSTED
    assert caught.value.details == {"seconds": 61}
    throttle.succeeded("ann")
    throttle.begin("ann")


def test_the_throttle_forgets_the_oldest_of_very_many_names(clock: VirtualClock) -> None:
    throttle = Throttle(clock)
    for number in range(10_001):
        for _ in range(5):
            throttle.begin(f"name-{number}")

    throttle.begin("name-0")
    with pytest.raises(CairnError):
        throttle.begin("name-10000")


def test_what_is_used_for_real_is_argon2id_with_a_salt() -> None:
    hasher = interactive_hasher()

    assert hasher.verify(hasher.hash("secret"), "secret")
    assert hasher.memory_cost >= 19 * 1024
