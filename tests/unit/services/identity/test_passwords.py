from __future__ import annotations

import asyncio
import hashlib
import threading

import pytest
from argon2 import PasswordHasher

from cairn.kernel.error import CairnError, ErrorKind
from cairn.services.identity.passwords import PasswordForm, Passwords, interactive_hasher, sha512_hex
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


async def test_wrong_passwords_from_one_place_make_the_account_wait_there_and_nowhere_else(
    passwords: Passwords, clock: VirtualClock
) -> None:
    kept = await passwords.hash(sha512_hex("secret"))
    for _ in range(5):
        with pytest.raises(CairnError, match="wrong"):
            await passwords.compare("ann", kept, sha512_hex("guess"), "203.0.113.7")

    with pytest.raises(CairnError) as caught:
        await passwords.compare("ann", kept, sha512_hex("secret"), "203.0.113.7")
    assert (caught.value.code, caught.value.kind) == ("auth.too-many-tries", ErrorKind.EXHAUSTED)
    await passwords.compare("ann", kept, sha512_hex("secret"), "198.51.100.1")
    await clock.advance(2.0)
    await passwords.compare("ann", kept, sha512_hex("secret"), "203.0.113.7")


class Stuck:
    """A hasher whose comparisons end when they are told to."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun: list[str] = []

    def hash(self, password: str) -> str:
        return password

    def verify(self, hash: str, password: str) -> bool:
        self.begun.append(password)
        assert self.go.wait(60)
        return hash == password


async def test_flood_from_one_place_is_refused_before_it_is_hashed_and_others_take_turns(clock: VirtualClock) -> None:
    hasher = Stuck()
    passwords = Passwords(hasher, clock)
    flood = [
        asyncio.ensure_future(passwords.compare(f"name{number}", "kept", "flood", "203.0.113.7"))
        for number in range(300)
    ]
    await asyncio.sleep(0)
    own = asyncio.ensure_future(passwords.compare("ann", "right", "right", "198.51.100.1"))
    await asyncio.sleep(0)
    hasher.go.set()
    await own
    ended = await asyncio.gather(*flood, return_exceptions=True)
    codes = [error.code for error in ended if isinstance(error, CairnError)]
    assert codes.count("auth.busy") >= 260
    assert hasher.begun.index("right") <= 3, "the flood's turns do not come before it"


async def test_known_place_has_a_turn_of_its_own_while_strangers_hold_all_others(clock: VirtualClock) -> None:
    hasher = Stuck()
    hasher.go.set()
    passwords = Passwords(hasher, clock)
    await passwords.compare("ann", "right", "right", "198.51.100.1")
    hasher.go.clear()
    flood = [
        asyncio.ensure_future(passwords.compare("ann", "kept", "flood", f"203.0.{number // 8}.{number % 8}"))
        for number in range(1000)
    ]
    await asyncio.sleep(0)
    own = asyncio.ensure_future(passwords.compare("ann", "right", "right", "198.51.100.1"))
    for _ in range(10_000):  # the thread is another's: it has begun when it says so
        await asyncio.sleep(0)
        if "right" in hasher.begun[1:]:
            break
    begun = list(hasher.begun)
    hasher.go.set()
    await own
    assert begun[1:] == ["flood", "flood", "right"]
    ended = await asyncio.gather(*flood, return_exceptions=True)
    assert all(isinstance(error, CairnError) for error in ended)


async def test_many_wrong_passwords_at_once_get_no_further_than_one_after_another(passwords: Passwords) -> None:
    kept = await passwords.hash(sha512_hex("secret"))

    codes = await asyncio.gather(*(refused(passwords, kept, str(number)) for number in range(20)))

    assert codes.count("auth.wrong-password") == 5
    assert codes.count("auth.too-many-tries") == 15


async def test_many_right_passwords_at_once_are_all_taken(passwords: Passwords) -> None:
    kept = await passwords.hash(sha512_hex("secret"))

    await asyncio.gather(*(passwords.compare("ann", kept, sha512_hex("secret")) for _ in range(20)))


def test_what_is_used_for_real_is_argon2id_with_a_salt() -> None:
    hasher = interactive_hasher()

    assert hasher.verify(hasher.hash("secret"), "secret")
    assert hasher.memory_cost >= 19 * 1024
