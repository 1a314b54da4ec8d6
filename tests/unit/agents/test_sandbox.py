from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from tests.unit.agents.fakes import FakeRunner

from cairn.agents.errors import AgentError
from cairn.agents.programs import Completed, SubprocessRunner
from cairn.agents.protocol import codes
from cairn.agents.sandbox import IMAGE, USER, run_closed

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "setpriv", "prlimit"))), reason="only root has a room"
)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image of mine"
    path.write_bytes(b"content")
    path.chmod(0o600)
    return path


async def said(image: Path, script: str) -> str:
    """What a program in the room says that tries something."""
    done = await run_closed(SubprocessRunner(), ["sh", "-c", script], image)
    return done.stdout.strip()


@needs_root
async def test_program_reads_the_file_and_is_nobody(image: Path) -> None:
    assert await said(image, f"cat {IMAGE}") == "content"
    assert await said(image, "id -u; id -g; id -G") == f"{USER}\n{USER}\n{USER}"


@needs_root
@pytest.mark.parametrize(
    "attempt",
    [
        "cat /etc/passwd",
        "ls /root",
        "ls /proc/1",
        "ls /var",
        f"echo x >{IMAGE}",
        "echo x >/usr/x",
        "echo x >/x",
        "mkdir /usr/x",
        "ln -s /etc /x",
        "chroot / true",
        "unshare --user true",
        "mount -t tmpfs x /etc",
        "kill -0 1",
        "kill -0 AGENT",
        "cat /sys/class/net/eth0/address",
    ],
)
async def test_program_cannot(image: Path, attempt: str) -> None:
    attempt = attempt.replace("AGENT", str(os.getpid()))
    assert await said(image, f"({attempt}) 2>/dev/null && echo DONE || echo refused") == "refused"


@needs_root
async def test_program_has_no_network_and_no_environment(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_AGENT", "s3cr3t")
    assert "s3cr3t" not in await said(image, "env; set")
    if shutil.which("ip"):
        assert "UP" not in (await said(image, "ip -br address")).replace("UNKNOWN", "")


@needs_root
async def test_exit_code_is_the_programs(image: Path) -> None:
    assert (await run_closed(SubprocessRunner(), ["sh", "-c", "exit 3"], image)).returncode == 3


@needs_root
async def test_program_is_ended_with_its_room(image: Path) -> None:
    running = asyncio.create_task(run_closed(SubprocessRunner(), ["sleep", "4711"], image))
    while not (found := _named("sleep\x004711")):
        assert not running.done()
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait({running})
    assert running.cancelled()
    while any(pid in found for pid in _named("sleep\x004711")):  # noqa: ASYNC110 (the kernel ends it, nobody tells)
        await asyncio.sleep(0)


def _named(command: str) -> set[int]:
    """The processes with that command line."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "cmdline").read_bytes().startswith(command.encode()):
                    found.add(int(entry.name))
            except OSError:
                continue
    return found


@needs_root
async def test_room_that_cannot_be_built_runs_nothing(image: Path) -> None:
    for done in (
        Completed(125, "", "mount: denied"),
        Completed(1, "", "unshare: unshare failed: Operation not permitted"),
    ):
        with pytest.raises(AgentError) as caught:
            await run_closed(FakeRunner({"env": done}), ["true"], image)
        assert caught.value.code == codes.MISSING_FEATURE


async def test_agent_that_is_not_root_keeps_the_limits(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cairn.agents.sandbox.os.geteuid", lambda: 1000)
    runner = FakeRunner()
    await run_closed(runner, ["qemu-img", "check", IMAGE], image)
    assert "prlimit --as=" in runner.ran[0]
    assert runner.ran[0].endswith(f"setpriv --no-new-privs qemu-img check {image}")
