from __future__ import annotations

import pytest

from cairn.agents.errors import AgentError
from cairn.agents.programs import SubprocessRunner
from cairn.agents.protocol import codes


async def test_output_and_input_are_passed() -> None:
    done = await SubprocessRunner().run(["cat"], stdin="hello")
    assert (done.returncode, done.stdout) == (0, "hello")


async def test_failure_has_the_programs_words() -> None:
    with pytest.raises(AgentError, match="failed with 3 and said: oh no") as caught:
        await SubprocessRunner().run(["sh", "-c", "echo oh no >&2; exit 3"])
    assert caught.value.code == codes.COMMAND_FAILED
    assert (await SubprocessRunner().run(["false"], check=False)).returncode == 1


async def test_program_that_is_not_installed_is_a_missing_feature() -> None:
    with pytest.raises(AgentError, match="not installed") as caught:
        await SubprocessRunner().run(["no-such-program-anywhere"])
    assert caught.value.code == codes.MISSING_FEATURE


async def test_program_that_does_not_end_is_killed() -> None:
    with pytest.raises(AgentError, match="did not end"):
        await SubprocessRunner().run(["sleep", "600"], timeout_seconds=0.05)
