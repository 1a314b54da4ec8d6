"""Guessing gets slower and slower, and never keeps the owner out."""

from __future__ import annotations

import pytest

from cairn.kernel.error import CairnError
from cairn.services.identity.throttle import HERE, Throttle, place_of
from cairn.testing.clock import VirtualClock

HOME, STRANGER = "198.51.100.1", "203.0.113.7"


def wait_seconds(throttle: Throttle, name: str, place: str) -> int:
    """How long a try has to wait; 0: not at all."""
    try:
        throttle.check(name, place)
    except CairnError as error:
        assert error.code == "auth.too-many-tries"
        return int(str(error.details["retryAfterSeconds"]))
    return 0


def guess(throttle: Throttle, name: str, place: str) -> bool:
    """Try a wrong password; whether it was even looked at."""
    try:
        throttle.begin(name, place)
    except CairnError:
        return False
    return True


async def test_wait_doubles_with_each_failure_up_to_a_minute() -> None:
    clock = VirtualClock()
    throttle = Throttle(clock)
    waits: list[int] = []
    for _ in range(15):
        waits.append(wait_seconds(throttle, "ann", STRANGER))
        await clock.advance(waits[-1])
        assert guess(throttle, "ann", STRANGER)
    assert waits == [0, 0, 0, 0, 0, 2, 3, 5, 9, 17, 33, 61, 61, 61, 61]


async def test_right_password_lets_count_from_nothing_again() -> None:
    throttle = Throttle(VirtualClock())
    for _ in range(3):
        for _ in range(4):
            throttle.begin("ann", HOME)
        throttle.succeeded("ann", HOME)
    assert wait_seconds(throttle, "ann", HOME) == 0


async def test_place_that_tries_many_names_waits_for_all_of_them() -> None:
    throttle = Throttle(VirtualClock())
    looked_at = sum(guess(throttle, f"name{number}", STRANGER) for number in range(100))
    assert looked_at == 30
    assert wait_seconds(throttle, "ann", STRANGER) > 0
    assert wait_seconds(throttle, "ann", HOME) == 0


async def test_own_log_ins_in_between_do_not_forgive_guesses_at_others() -> None:
    throttle = Throttle(VirtualClock())
    looked_at = 0
    for number in range(100):
        looked_at += guess(throttle, f"name{number}", STRANGER)
        if guess(throttle, "mallory", STRANGER):
            throttle.succeeded("mallory", STRANGER)
    assert looked_at <= 30


async def test_many_strangers_together_are_slow_and_a_known_place_does_not_wait_for_them() -> None:
    clock = VirtualClock()
    throttle = Throttle(clock)
    throttle.begin("ann", HOME)
    throttle.succeeded("ann", HOME)
    looked_at = 0
    for number in range(3600):
        looked_at += guess(throttle, "ann", f"203.0.{number // 250}.{number % 250}")
        assert wait_seconds(throttle, "ann", HOME) == 0
        await clock.advance(1.0)
    assert looked_at < 20 + 3600 / 30 + 10
    assert wait_seconds(throttle, "ann", HERE) == 0
    assert wait_seconds(throttle, "ann", "192.0.2.1") > 0
    assert wait_seconds(throttle, "bob", "192.0.2.1") == 0


async def test_failures_are_forgotten_after_a_while() -> None:
    clock = VirtualClock()
    throttle = Throttle(clock)
    for _ in range(5):
        throttle.begin("ann", STRANGER)
    await clock.advance(901)
    assert [guess(throttle, "ann", STRANGER) for _ in range(5)] == [True] * 5


async def test_memory_is_bounded() -> None:
    throttle = Throttle(VirtualClock())
    for number in range(21_000):
        for _ in range(5):
            guess(throttle, f"name{number}", f"{number}")
    assert wait_seconds(throttle, "name20999", "20999") > 0
    assert wait_seconds(throttle, "name0", "0") == 0


@pytest.mark.parametrize(
    ("address", "place"),
    [
        (None, HERE),
        ("127.0.0.1", HERE),
        ("::1", HERE),
        ("::ffff:127.0.0.1", HERE),
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:0db8:0001:0002"),
        ("2001:db8:1:2::9%eth0", "2001:0db8:0001:0002"),
        ("a name", "a name"),
    ],
)
def test_place_is_what_one_machine_has(address: str | None, place: str) -> None:
    assert place_of(address) == place
