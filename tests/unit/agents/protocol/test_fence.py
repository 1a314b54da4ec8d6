from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.agents.protocol.fence import Fence, note, refusal
from cairn.agents.protocol.wire import Request

BODY = msgspec.Raw(b"{}")


def fence(resource: str = "vm:a", epoch: int = 1) -> Fence:
    return Fence(resource=resource, epoch=epoch, node="n")


def test_refusal_says_what_was_found_what_is_known_and_whose_it_is() -> None:
    why = refusal({"vm:a": 7}, [fence("machine:m", 9), fence(epoch=6)])
    assert why is not None
    assert all(word in why for word in ("vm:a", "epoch 6", "node n", "epoch 7", "Nothing was done"))


@given(st.lists(st.tuples(st.sampled_from(["vm:a", "vm:b", "host:c"]), st.integers(0, 9))))
def test_epochs_of_what_is_let_pass_never_fall(commands: list[tuple[str, int]]) -> None:
    known: dict[str, int] = {}
    passed: dict[str, list[int]] = {}
    for resource, epoch in commands:
        one = fence(resource, epoch)
        if refusal(known, [one]) is None:
            note(known, [one])
            passed.setdefault(resource, []).append(epoch)
        else:
            assert epoch < max(passed[resource])
    assert all(epochs == sorted(epochs) for epochs in passed.values())
    assert known == {resource: max(epochs) for resource, epochs in passed.items()}


def test_only_what_is_higher_or_new_is_news() -> None:
    known: dict[str, int] = {}
    assert [bool(note(known, [fence(epoch=epoch)])) for epoch in (3, 3, 4, 4)] == [True, False, True, False]
    both = [fence("machine:m"), fence(epoch=4)]
    assert note(known, both) == both[:1]


def test_the_resource_that_was_commanded_longest_ago_is_forgotten() -> None:
    known: dict[str, int] = {}
    for resource in ("vm:a", "vm:b", "vm:a", "vm:c"):
        note(known, [fence(resource)], most=2)
    assert known == {"vm:a": 1, "vm:c": 1}


@pytest.mark.parametrize(
    ("resource", "epoch"), [("", 1), ("x" * 256, 1), ("a b", 1), ("a\n9 vm:b", 1), ("vm:a", -1), ("vm:a", 1 << 63)]
)
def test_fence_out_of_its_bounds_does_not_decode(resource: str, epoch: int) -> None:
    sent = msgspec.json.encode({"resource": resource, "epoch": epoch})
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(sent, type=Fence)


def test_request_with_too_many_fences_does_not_decode() -> None:
    sent = msgspec.json.encode(Request(task="t", command="c", body=BODY, fences=(fence(),) * 5))
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(sent, type=Request)


def test_request_without_a_fence_is_one_in_nobodys_turn() -> None:
    sent = Request(task="t", command="c", body=BODY, fences=(fence(),))
    assert msgspec.json.decode(msgspec.json.encode(sent), type=Request) == sent
    assert msgspec.json.decode(b'{"task":"t","command":"c","body":{}}', type=Request).fences == ()
