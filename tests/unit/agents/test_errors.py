from __future__ import annotations

import errno
from pathlib import Path

import pytest

from cairn.agents.errors import AgentError, is_no_space, no_space
from cairn.agents.protocol import codes
from cairn.agents.protocol.wire import Failure


def test_an_error_crosses_the_wire_with_its_code_and_sentence() -> None:
    assert AgentError(codes.BAD_REQUEST, "No.").failure() == Failure(code=codes.BAD_REQUEST, message="No.")
    assert str(AgentError(codes.BAD_REQUEST, "No.")) == "No."


@pytest.mark.parametrize(("needed", "told"), [(100, "at least 100 bytes are needed"), (None, "the file did not fit")])
def test_a_full_disk_tells_what_is_free_and_what_was_needed(needed: int | None, told: str) -> None:
    error = no_space(Path("/disk"), needed, 7)
    assert error.code == codes.NO_SPACE
    assert error.message.startswith(f"/disk: {told}, 7 bytes are free.")


@pytest.mark.parametrize(("number", "full"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EACCES, False)])
def test_a_quota_that_is_used_up_is_a_full_disk(number: int, full: bool) -> None:
    assert is_no_space(OSError(number, "x")) is full
