"""Programs of the machine (ip, nft, qemu-img, …), behind a small interface that tests can stand in for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from cairn.agents.errors import AgentError
from cairn.agents.protocol import codes

#: More than any of the programs has to say.
_MAX_OUTPUT_BYTES = 4 << 20


class Completed(Struct, frozen=True):
    """How a program ended."""

    returncode: int
    stdout: str = ""
    stderr: str = ""


class ProgramRunner(Protocol):
    """Runs programs of the machine and reports how they ended."""

    async def run(
        self, argv: Sequence[str], *, stdin: str = "", check: bool = True, timeout_seconds: float = 60.0
    ) -> Completed:
        """Run `argv` (no shell) and wait for its end; it is killed when the caller is cancelled or time is up.

        Raises:
            AgentError: ``agent.command-failed`` when `check` is set and the program says it failed, or when it took
                longer than `timeout_seconds`; ``agent.missing-feature`` when the program is not installed.
        """


class SubprocessRunner:
    """Runs programs for real."""

    async def run(
        self, argv: Sequence[str], *, stdin: str = "", check: bool = True, timeout_seconds: float = 60.0
    ) -> Completed:
        """Run the program as a child process; see `ProgramRunner.run`."""
        process = await self._spawn(argv)
        try:
            async with asyncio.timeout(timeout_seconds):
                out, err = await process.communicate(stdin.encode())
        except TimeoutError:
            raise AgentError(
                codes.COMMAND_FAILED, f"{_shown(argv)} did not end within {timeout_seconds:g} s and was killed."
            ) from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        done = Completed(process.returncode or 0, _text(out), _text(err))
        if check and done.returncode != 0:
            raise failed(argv, done)
        return done

    async def _spawn(self, argv: Sequence[str]) -> asyncio.subprocess.Process:
        try:
            return await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except FileNotFoundError:
            raise AgentError(
                codes.MISSING_FEATURE,
                f"The program {argv[0]} is not installed on this machine. Run the host's playbook again (reconnect).",
            ) from None


def failed(argv: Sequence[str], done: Completed) -> AgentError:
    """The error for a program that failed."""
    said = (done.stderr or done.stdout).strip()[-600:] or "nothing"
    return AgentError(codes.COMMAND_FAILED, f"{_shown(argv)} failed with {done.returncode} and said: {said}")


def _shown(argv: Sequence[str]) -> str:
    text = " ".join(argv)
    return f"`{text[:200]}`"


def _text(data: bytes) -> str:
    return data[:_MAX_OUTPUT_BYTES].decode(errors="replace")
