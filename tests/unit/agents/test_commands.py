from __future__ import annotations

import errno
from pathlib import Path

import msgspec
import pytest

from cairn.agents.commands import Registry, handles
from cairn.agents.errors import AgentError
from cairn.agents.protocol import codes
from cairn.agents.protocol.storage import Capacity, GetCapacity


class Broken:
    def __init__(self, error: Exception) -> None:
        self.error = error

    @handles(GetCapacity)
    async def capacity(self, command: GetCapacity) -> Capacity:
        raise self.error


BODY = msgspec.Raw(b'{"path":"/"}')


def test_two_handlers_of_one_command_are_refused() -> None:
    with pytest.raises(TypeError, match=r"storage.capacity has two handlers"):
        Registry([Broken(ValueError()), Broken(ValueError())])


async def test_bug_is_answered_as_internal() -> None:
    with pytest.raises(AgentError) as caught:
        await Registry([Broken(ValueError("what"))]).run("storage.capacity", BODY)
    assert caught.value.code == codes.INTERNAL
    assert "ValueError: what" in caught.value.message


async def test_full_disk_anywhere_is_answered_as_no_space(tmp_path: Path) -> None:
    error = OSError(errno.ENOSPC, "No space left on device", str(tmp_path))
    with pytest.raises(AgentError) as caught:
        await Registry([Broken(error)]).run("storage.capacity", BODY)
    assert caught.value.code == codes.NO_SPACE
    assert str(tmp_path) in caught.value.message


async def test_unknown_command_is_answered_with_those_that_are_known() -> None:
    with pytest.raises(AgentError, match=r"storage.capacity") as caught:
        await Registry([Broken(ValueError())]).run("no.such", BODY)
    assert caught.value.code == codes.UNKNOWN_COMMAND
