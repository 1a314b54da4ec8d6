"""Faults on demand."""

from __future__ import annotations

import msgspec
import pytest

from cairn.simulator.dials import Dial, Dials


def test_nothing_is_turned_in_the_beginning() -> None:
    dials = Dials()
    assert not dials.turned
    assert not dials.dead("sim-0001")
    assert dials.all() == []


def test_most_particular_dial_holds() -> None:
    dials = Dials()
    given = [
        Dial(delay_seconds=1),
        Dial(command="vm.start", delay_seconds=2),
        Dial(host="a", delay_seconds=3),
        Dial(host="a", command="vm.start", delay_seconds=4),
    ]
    for dial in given:
        dials.turn(dial)
    found = [
        dials.find(*place).delay_seconds for place in (("b", "x"), ("b", "vm.start"), ("a", "x"), ("a", "vm.start"))
    ]
    assert found == [1, 2, 3, 4]


def test_ordinary_dial_takes_the_other_away() -> None:
    dials = Dials()
    dials.turn(Dial(host="a", dead=True))
    assert dials.dead("a")
    assert not dials.dead("b")
    dials.turn(Dial(host="a"))
    assert not dials.turned
    assert not dials.dead("a")


def test_counts_are_used_up() -> None:
    dials = Dials()
    dial = Dial(error_next=2, lost_next=1, duplicate_next=1)
    assert [dials.fails(dial) for _ in range(3)] == [True, True, False]
    assert [dials.loses(dial) for _ in range(2)] == [True, False]
    assert [dials.doubles(dial) for _ in range(2)] == [True, False]


def test_same_seed_makes_the_same_faults() -> None:
    dial = Dial(error_rate=0.5, delay_seconds=1, delay_max_seconds=2)

    def story(seed: int) -> list[object]:
        dials = Dials(seed)
        return [step for _ in range(20) for step in (dials.fails(dial), dials.delay(dial))]

    assert story(1) == story(1)
    assert story(1) != story(2)
    assert all(1 <= step <= 2 for step in story(3)[1::2] if isinstance(step, float))


def test_clearing_begins_again() -> None:
    dials = Dials(3)
    dial = Dial(error_rate=0.5)
    first = [dials.fails(dial) for _ in range(10)]
    dials.turn(dial)
    dials.clear()
    assert dials.all() == []
    assert [dials.fails(dial) for _ in range(10)] == first


@pytest.mark.parametrize("body", [b'{"errorRate":2}', b'{"delaySeconds":-1}', b'{"delay":1}', b'{"errorNext":-1}'])
def test_dial_out_of_its_range_is_refused(body: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(body, type=Dial)
