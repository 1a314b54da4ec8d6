from __future__ import annotations

from cairn.kernel.bus.handlers import handlers_of, handles
from cairn.kernel.bus.message import Command, Query


class Ring(Command[int], frozen=True, kw_only=True, tag="test-handlers.ring"):
    times: int


class Listen(Query[str], frozen=True, kw_only=True, tag="test-handlers.listen"):
    pass


class Bell:
    def __init__(self) -> None:
        self.rung = 0

    @handles(Ring)
    async def ring(self, message: Ring) -> int:
        self.rung += message.times
        return self.rung

    async def unmarked(self, message: Ring) -> int:
        return 0


class LoudBell(Bell):
    @handles(Listen)
    async def listen(self, message: Listen) -> str:
        return "dong" * self.rung


class SilentBell(Bell):
    async def ring(self, message: Ring) -> int:
        return 0


async def test_marked_methods_are_found_bound_to_their_object() -> None:
    bell = Bell()
    ((message, handler),) = handlers_of(bell)
    assert message is Ring
    assert await handler(Ring(times=2)) == bell.rung == 2


def test_handlers_of_a_base_class_are_the_classes_own() -> None:
    assert {message for message, _ in handlers_of(LoudBell())} == {Ring, Listen}


def test_a_method_that_is_written_again_without_a_mark_handles_nothing() -> None:
    assert list(handlers_of(SilentBell())) == []


async def test_a_marked_method_can_be_called_like_any_other() -> None:
    assert await Bell().ring(Ring(times=3)) == 3
