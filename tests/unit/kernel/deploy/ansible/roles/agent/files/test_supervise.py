from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from cairn.kernel.deploy.ansible import SHARED_ROLES

PROGRAM = SHARED_ROLES / "agent" / "files" / "supervise.py"
Supervise = Callable[..., str]


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Supervise]:
    """The program as a machine runs it, with locks in a folder of its own."""
    environment = {**os.environ, "CAIRN_RUN_FOLDER": str(tmp_path)}

    def call(*arguments: str) -> str:
        command = [sys.executable, "-IS", str(PROGRAM), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    yield call
    call("stop", "x")


@pytest.fixture
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("supervise", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def first_line(fifo: Path) -> str:
    with fifo.open() as lines:
        return lines.readline().strip()


@pytest.fixture
def program(tmp_path: Path) -> tuple[Path, list[str]]:
    """A program that tells its process id through a pipe and stays, and the pipe."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    return fifo, ["sh", "-c", f"echo $$ >{fifo}; exec sleep 1000"]


def is_running(pid: str) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def test_program_is_started_once_and_stopped_once(supervise: Supervise, program: tuple[Path, list[str]]) -> None:
    fifo, command = program

    assert supervise("start", "x", "--", *command) == "started"
    pid = first_line(fifo)
    assert supervise("start", "x", "--", *command) == "running"
    assert is_running(pid)
    assert supervise("stop", "x") == "stopped"
    assert not is_running(pid)
    assert supervise("stop", "x") == "absent"


def test_restart_runs_the_same_program_again(supervise: Supervise, program: tuple[Path, list[str]]) -> None:
    fifo, command = program
    supervise("start", "x", "--", *command)
    old = first_line(fifo)

    assert supervise("restart", "x") == "started"

    new = first_line(fifo)
    assert new != old
    assert not is_running(old)
    assert is_running(new)


def test_restart_of_what_never_ran_or_was_stopped_starts_nothing(supervise: Supervise) -> None:
    assert supervise("restart", "x") == "absent"
    supervise("start", "x", "--", "sleep", "1000")
    supervise("stop", "x")
    assert supervise("restart", "x") == "absent"


def test_killed_program_is_run_again_by_a_supervisor_that_a_pattern_for_it_does_not_hit(
    supervise: Supervise, program: tuple[Path, list[str]]
) -> None:
    fifo, command = program
    supervise("start", "x", "--", *command)
    pid = first_line(fifo)
    supervisor = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]

    os.kill(int(pid), 9)

    assert first_line(fifo) != pid
    assert b"sleep" not in Path(f"/proc/{supervisor}/cmdline").read_bytes()


def test_what_the_program_prints_and_how_it_ends_is_in_the_log(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 6:
            raise module.Stop

    monkeypatch.setattr(time, "sleep", sleep)
    with pytest.raises(module.Stop):
        module.supervise(str(tmp_path / "log"), ["sh", "-c", "echo hello; exit 3"])

    log = (tmp_path / "log").read_text()
    assert log.splitlines()[:2] == ["hello", "supervisor: sh ended with 3"]
    assert pauses == [2, 4, 8, 16, 30, 30]


def test_program_that_is_not_there_is_told_in_the_log(module: ModuleType, tmp_path: Path) -> None:
    module._run_once(str(tmp_path / "log"), ["/nowhere"])

    assert "No such file" in (tmp_path / "log").read_text()


def test_log_is_bounded(module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOG_LIMIT_BYTES", 3)
    (tmp_path / "log").write_text("long")

    module.rotate(str(tmp_path / "log"))
    module.rotate(str(tmp_path / "log"))

    assert (tmp_path / "log").read_text() == ""
    assert (tmp_path / "log.1").read_text() == "long"


def test_start_without_a_program_is_refused(supervise: Supervise) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        supervise("start", "x")
